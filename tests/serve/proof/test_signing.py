"""Signatures: what one of the keys signed, and nothing else whatever."""

import base64
import json
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey

from goodcert.serve.proof.signing import (
    CERTIFICATE,
    CHECKPOINT,
    RECHECK_SECONDS,
    FolderSigner,
    KeyFault,
    SignatureRefused,
    Signer,
    create_key,
    key_set,
    published,
    read_keys,
    verified,
)

PAYLOAD = b'{"id":"a","confidence_upper_bound":0.1}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    create_key(folder)
    return folder


@pytest.fixture(scope="module")
def signer(folder):
    return Signer(read_keys(folder))


@pytest.fixture(scope="module")
def keys(signer):
    return key_set(json.dumps(signer.published()))


@pytest.fixture(scope="module")
def token(signer):
    return signer.sign(PAYLOAD, CERTIFICATE)


def encoded(part):
    part = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def test_what_was_signed_comes_back(token, keys):
    assert verified(token, keys, CERTIFICATE) == PAYLOAD


def test_the_same_is_signed_by_the_same_bytes(token, signer):
    assert signer.sign(PAYLOAD, CERTIFICATE) == token


def test_the_signature_is_that_of_rfc_8032_over_header_and_payload(token, folder):
    (key,) = read_keys(folder)
    signed, _, signature = token.rpartition(".")
    key.public_key.verify(base64.urlsafe_b64decode(signature + "=="), signed.encode())


def test_any_changed_byte_fails(token, keys):
    """Every byte, each of its eight bits and all of them."""
    whole = token.encode()
    for place in range(len(whole)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            changed = bytearray(whole)
            changed[place] ^= flip
            with pytest.raises(SignatureRefused):
                verified(changed.decode("latin-1"), keys, CERTIFICATE)


def test_every_other_last_letter_fails(token, keys):
    """Its last four bits belong to no byte: a lenient decoder takes sixteen letters for one."""
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=":
        if letter != token[-1]:
            with pytest.raises(SignatureRefused):
                verified(token[:-1] + letter, keys, CERTIFICATE)


@pytest.mark.parametrize("extra", ["\n", " ", "=", "==", "A", ".", ".A", "\0", "," + "x" * 40])
def test_anything_before_or_behind_fails(token, keys, extra):
    for changed in (token + extra, extra + token):
        with pytest.raises(SignatureRefused):
            verified(changed, keys, CERTIFICATE)


def test_every_cut_fails(token, keys):
    for end in range(len(token)):
        with pytest.raises(SignatureRefused):
            verified(token[:end], keys, CERTIFICATE)


@given(st.one_of(st.text(max_size=80), st.builds(lambda *p: ".".join(p), *[st.text(max_size=30)] * 3)))
def test_whatever_is_not_signed_is_refused_in_the_same_way(keys, text):
    with pytest.raises(SignatureRefused):
        verified(text, keys, CERTIFICATE)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "EdDSA", "ES256", "Ed448", "", None, ["Ed25519"]])
def test_another_algorithm_is_refused(token, keys, signer, algorithm):
    _, payload, signature = token.split(".")
    header = encoded({"alg": algorithm, "kid": signer.kid, "typ": CERTIFICATE})
    for end in (signature, ""):
        with pytest.raises(SignatureRefused):
            verified(f"{header}.{payload}.{end}", keys, CERTIFICATE)


def test_the_public_key_is_no_shared_secret(keys, signer, folder):
    (key,) = read_keys(folder)
    public = signer.published()["keys"][0]
    for secret in (key.as_pem(private=False), base64.urlsafe_b64decode(public["x"] + "=")):
        header = {"alg": "HS256", "kid": signer.kid, "typ": CERTIFICATE}
        forged = jws.serialize_compact(header, PAYLOAD, OctKey.import_key(secret.hex()), algorithms=["HS256"])
        with pytest.raises(SignatureRefused):
            verified(forged, keys, CERTIFICATE)


def test_another_key_is_refused_under_its_own_name_and_under_ours(keys, signer):
    other = OKPKey.generate_key("Ed25519")
    other.ensure_kid()
    for kid in (other.kid, signer.kid):
        header = {"alg": "Ed25519", "kid": kid, "typ": CERTIFICATE}
        forged = jws.serialize_compact(header, PAYLOAD, other, algorithms=["Ed25519"])
        with pytest.raises(SignatureRefused):
            verified(forged, keys, CERTIFICATE)


@pytest.mark.parametrize(
    "change",
    [
        {"kid": "other"},
        {"kid": None},
        {"typ": CHECKPOINT},
        {"typ": None},
        {"jku": "http://127.0.0.1/keys"},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}},
        {"crit": ["b64"], "b64": False},
        {"x": 1},
    ],
)
def test_another_header_is_refused_although_it_is_signed(keys, signer, folder, change):
    header = {"alg": "Ed25519", "kid": signer.kid, "typ": CERTIFICATE} | change
    signed = f"{encoded({name: value for name, value in header.items() if value is not None})}.{encoded(PAYLOAD)}"
    (key,) = read_keys(folder)
    forged = f"{signed}.{encoded(key.private_key.sign(signed.encode()))}"
    with pytest.raises(SignatureRefused):
        verified(forged, keys, CERTIFICATE)


def test_a_checkpoint_is_no_certificate(keys, signer):
    with pytest.raises(SignatureRefused, match="header"):
        verified(signer.sign(PAYLOAD, CHECKPOINT), keys, CERTIFICATE)


def test_a_new_key_is_for_its_owner_alone_and_the_newest_signs(tmp_path):
    (first, _), (second, newest) = create_key(tmp_path), create_key(tmp_path)
    assert first < second
    assert stat.S_IMODE(second.stat().st_mode) == 0o600
    assert Signer(read_keys(tmp_path)).kid == newest.kid


def test_no_private_part_is_published(tmp_path):
    create_key(tmp_path)
    (shown,) = published(read_keys(tmp_path))["keys"]
    assert set(shown) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert (shown["kty"], shown["crv"], shown["alg"]) == ("OKP", "Ed25519", "Ed25519")


def test_a_key_of_which_only_the_public_part_is_left_still_verifies(tmp_path):
    path, old = create_key(tmp_path)
    token = Signer([old]).sign(PAYLOAD, CERTIFICATE)
    path.write_bytes(old.as_pem(private=False))
    with pytest.raises(KeyFault, match="private"):
        Signer(read_keys(tmp_path))
    _, newest = create_key(tmp_path)
    signer = Signer(read_keys(tmp_path))
    assert signer.kid == newest.kid
    assert verified(token, key_set(json.dumps(signer.published())), CERTIFICATE) == PAYLOAD


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_is_no_key_is_named(tmp_path, content):
    (tmp_path / "broken.pem").write_bytes(content)
    with pytest.raises(KeyFault, match=r"broken\.pem"):
        read_keys(tmp_path)


@pytest.mark.parametrize("curve", ["Ed448", "X25519", "P-256"])
def test_a_key_of_another_kind_is_refused(tmp_path, curve):
    if curve == "P-256":
        key = generate_private_key(SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        pem = OKPKey.generate_key(curve).as_pem(private=True)
    (tmp_path / "other.pem").write_bytes(pem)
    with pytest.raises(KeyFault, match=r"other\.pem"):
        read_keys(tmp_path)


def test_keys_of_other_kinds_in_a_set_are_passed_over(signer):
    mixed = KeySet([ECKey.generate_key("P-256"), OKPKey.generate_key("X25519")]).as_dict()["keys"]
    keys = key_set(json.dumps({"keys": [*mixed, *signer.published()["keys"]]}))
    assert [key.kid for key in keys] == [signer.kid]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": []}', '{"keys": [1]}', '{"keys": [{"kty": "OKP"}]}'])
def test_a_set_without_a_key_is_refused(text):
    with pytest.raises(KeyFault):
        key_set(text)


class TestRotation:
    """time: what the clock of the signer says."""

    @pytest.fixture
    def folder(self, tmp_path):
        create_key(tmp_path)
        return tmp_path

    @pytest.fixture
    def time(self):
        return [1000.0]

    @pytest.fixture
    def signer(self, folder, time):
        return FolderSigner(folder, clock=lambda: time[0])

    def test_a_new_key_signs_and_is_published_without_a_restart_and_the_old_one_still_verifies(
        self, signer, folder, time
    ):
        old = signer.sign(PAYLOAD, CERTIFICATE)
        _, key = create_key(folder)
        time[0] += RECHECK_SECONDS
        new = signer.sign(PAYLOAD, CERTIFICATE)
        assert jws.extract_compact(new.encode()).headers()["kid"] == key.kid
        keys = key_set(json.dumps(signer.published()))
        assert [verified(token, keys, CERTIFICATE) for token in (old, new)] == [PAYLOAD] * 2

    def test_a_key_that_is_taken_out_is_no_longer_published(self, signer, folder, time):
        gone = signer.kid
        create_key(folder)
        min(folder.iterdir()).unlink()
        time[0] += RECHECK_SECONDS
        assert gone not in [key["kid"] for key in signer.published()["keys"]]

    def test_for_a_signature_the_folder_is_looked_at_once_a_second_at_most(self, signer, folder, time):
        before = signer.sign(PAYLOAD, CERTIFICATE)
        create_key(folder)
        time[0] += RECHECK_SECONDS / 2
        assert signer.sign(PAYLOAD, CERTIFICATE) == before

    def test_a_key_is_published_before_anybody_can_sign_with_it(self, signer, folder):
        _, key = create_key(folder)
        assert key.kid in [each["kid"] for each in signer.published()["keys"]]

    @pytest.mark.parametrize("harm", ["unlink", "tear"])
    def test_a_folder_that_cannot_be_used_leaves_the_keys_of_before(self, signer, folder, time, caplog, harm):
        before, (path,) = signer.published(), folder.iterdir()
        good = path.read_bytes()
        path.unlink() if harm == "unlink" else path.write_bytes(good[:-9])
        time[0] += RECHECK_SECONDS
        assert signer.published() == before
        assert "the keys of before stay" in caplog.text
        assert str(folder) not in caplog.text
        path.write_bytes(good)
        create_key(folder)
        time[0] += RECHECK_SECONDS
        assert len(signer.published()["keys"]) == 2
