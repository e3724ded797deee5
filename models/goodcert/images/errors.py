"""Why the bytes of an upload are no image that a model can be asked about."""

from typing import ClassVar


class CodedError(Exception):
    """An error that somebody is told of. Messages are for the log, never for the wire.

    `code` is stable and for programs; `title` and `detail` are for people, and always the same. Without a title of
    its own a class has its code in words. A class without a code is a family, which is caught and never raised.
    """

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    detail: ClassVar[str] = "The fault is ours; it has been logged."

    def __init_subclass__(cls) -> None:
        if "code" in vars(cls) and "title" not in vars(cls):
            cls.title = cls.code.replace("_", " ").capitalize()


class ImageRefused(CodedError):
    """The bytes are no image that the model can be asked about."""


class NotAnImage(ImageRefused):
    code = "not_an_image"
    detail = "The bytes do not decode as one complete PNG, JPEG, WEBP or BMP image."


class SeveralFrames(ImageRefused):
    code = "several_frames"
    detail = "The file holds more than one image; send a single one."


class TooManyPixels(ImageRefused):
    code = "too_many_pixels"
    detail = "The image has more pixels than are decoded; send a smaller one."


class WrongSize(ImageRefused):
    code = "wrong_size"
    detail = "The model takes images of its own size only; its card gives it."
