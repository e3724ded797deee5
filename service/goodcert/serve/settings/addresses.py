"""Which addresses belong to the internet, and to nobody's inner network."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether an IP address is reachable by everyone: not private, loopback, link-local, shared, reserved or
    multicast, nor an IPv6 address that carries an IPv4 address which is. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(each.is_global and not each.is_multicast for each in (_inner(address), address))


def _inner(address: Address) -> Address:
    """The IPv4 address to which one of IPv6 leads: mapped (RFC 4291), 6to4 (RFC 3056) or NAT64 (RFC 6052).

    Teredo (RFC 4380) is not global to begin with.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
