"""Checks where webhooks may go: to public addresses and the hosts that the operator allows, not into its network.

In: a client's URL. Out: an error, or a connection to an address that was checked.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import anyio
import httpcore2

_LONGEST_URL = 2048
_RESOLVE_S = 5.0
_MOST_LOOKUPS = 32  # concurrent look-ups
_MOST_OF_ONE = 8  # of them for one of several owners
_TURN_S = 0.02  # pause between checks for a free thread
_MOST_TRIED = 3  # addresses of a host that are tried

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]*))?")


class WebhookRefusedError(Exception):
    """A webhook may not or cannot go to its URL."""


class LookUpError(WebhookRefusedError):
    """The look-up of the host failed and may succeed later, so it is unknown whether the webhook may go there."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL.

    Attributes:
        scheme: "http" or "https".
        host: a name or an address, without brackets, in lower case.
        port: 1 to 65535.
        path: the path with the query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The value of the header `Host`: an IPv6 address in brackets; the port unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """Split a URL, without looking its host up.

    Raises:
        WebhookRefusedError: if a webhook cannot go to such a URL.
    """
    if len(url) > _LONGEST_URL:
        raise WebhookRefusedError(f"webhook has {len(url)} characters; at most {_LONGEST_URL} are allowed.")
    # Parsers disagree about these, and the host that is checked has to be the one that is connected to.
    if re.search(r"[^\x21-\x7e]|\\", url):
        raise WebhookRefusedError(
            f"webhook={_short(url)} has a space, a backslash, a control character or one beyond ASCII; "
            "percent-encode them in the path (%20), and write the host in its xn-- form."
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise WebhookRefusedError(f"webhook={_short(url)} is not a URL: {error}.") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise WebhookRefusedError(f"webhook={_short(url)} does not start with http:// or https://.")
    if "@" in parts.netloc:  # the message does not repeat it: it may contain a password
        raise WebhookRefusedError("webhook has a user name or a password before its host: leave them out.")
    if "#" in url:
        raise WebhookRefusedError(f"webhook={_short(url)} has a fragment, which is never sent: leave it out.")
    found = _HOST_AND_PORT.fullmatch(parts.netloc)
    if found is None:
        raise WebhookRefusedError(f"webhook={_short(url)} has no host, or one that is not a name or an address.")
    host, port = found[1].strip("[]").lower(), int(found[2] or _DEFAULT_PORTS[parts.scheme])
    if found[1].startswith("[") and not isinstance(_address(host), IPv6Address):
        raise WebhookRefusedError(f"webhook={_short(url)} has something in brackets that is not an IPv6 address.")
    if not 1 <= port <= 65535:
        raise WebhookRefusedError(f"webhook={_short(url)} has the port {port}; ports go from 1 to 65535.")
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host, port, (parts.path or "/") + query)


class Addresses:
    """The addresses that webhooks may go to: all public ones, and all of the allowed hosts.

    Args:
        allowed: the operator's hosts: "host" for all its ports, or "host:port"; IPv6 as "[::1]" or "[::1]:8080".
        has_many: returns whether there are several owners, each of which then gets only some threads for look-ups.

    Raises:
        ValueError: if an allowed host has another form.
    """

    def __init__(self, allowed: frozenset[str] = frozenset(), has_many: Callable[[], bool] = lambda: True) -> None:
        self._allowed = frozenset(_host_and_port(one) for one in allowed)
        self._has_many = has_many
        self._threads = _new_threads()
        self._running = Counter[str]()  # look-ups by owner, including those that hang and nobody waits for any more
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the threads for look-ups; further look-ups start new ones."""
        self._threads.shutdown(wait=False)
        self._threads = _new_threads()

    def check_url(self, url: str) -> None:
        """Check what needs no look-up: the form of the URL, and an address that is written in it.

        Raises:
            WebhookRefusedError: if a webhook may not go there.
        """
        target = parse_url(url)
        if not self._allows(target.host, target.port) and _address(target.host) and not is_public(target.host):
            raise _not_public(target.host)

    async def resolve(self, host: str, port: int, owner: str = "") -> list[str]:
        """Look up the addresses of a host, all of which may be connected to.

        Args:
            host: a name or an address, in any spelling that `getaddrinfo` understands.
            owner: the owner of the webhook; if there are several, its look-ups that hang leave the others some threads.

        Raises:
            WebhookRefusedError: if one of the addresses is not public, or there is none.
            LookUpError: if it took longer than 5 s, no name server answered, or no thread could be started.
        """
        try:
            with anyio.fail_after(_RESOLVE_S):
                while not self._may_begin(owner):
                    await anyio.sleep(_TURN_S)
                try:
                    looking = self._threads.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
                except RuntimeError as error:  # no thread can be started
                    self._has_ended(owner)
                    raise LookUpError(f"The webhook's host {host!r} could not be looked up.") from error
                looking.add_done_callback(lambda _: self._has_ended(owner))  # also if it was cancelled
                found = await asyncio.wrap_future(looking)
        except TimeoutError as error:
            raise LookUpError(f"The webhook's host {host!r} could not be looked up within {_RESOLVE_S:g} s.") from error
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise LookUpError(f"The webhook's host {host!r} could not be looked up.") from error
            raise _not_public(host) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that is empty or too long
            raise _not_public(
                host
            ) from error  # the same message, so that it does not reveal names of the internal network
        addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        if not addresses or not (self._allows(host, port) or all(map(is_public, addresses))):
            raise _not_public(host)
        return addresses

    def _may_begin(self, owner: str) -> bool:
        """Whether there is a thread for another look-up of this owner; if so, it is counted from now on."""
        most = _MOST_OF_ONE if self._has_many() else _MOST_LOOKUPS
        with self._lock:
            has_room = self._running[owner] < most
            self._running[owner] += has_room
            return has_room

    def _has_ended(self, owner: str) -> None:
        with self._lock:
            self._running[owner] -= 1

    def _allows(self, host: str, port: int) -> bool:
        name = host.lower()
        return (name, None) in self._allowed or (name, port) in self._allowed


def _new_threads() -> ThreadPoolExecutor:
    """Return threads for look-ups only: whoever controls a name's DNS can make them hang."""
    return ThreadPoolExecutor(_MOST_LOOKUPS, thread_name_prefix="whisperlite-names")


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects only to addresses that `Addresses` allows.

    A host is resolved once, and the connection goes to one of the addresses found, so it does not matter if the name
    leads elsewhere a moment later (DNS rebinding). TLS still checks the name, which httpcore2 keeps.

    Args:
        owner: the owner of the webhook.
    """

    def __init__(self, addresses: Addresses, owner: str = "") -> None:
        self._addresses, self._owner = addresses, owner
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first of up to three addresses that accepts; each has an equal share of the time.

        Raises:
            WebhookRefusedError: see `Addresses.resolve`.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: if none accepts.
        """
        addresses = (await self._addresses.resolve(host, port, self._owner))[:_MOST_TRIED]
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._backend.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(addresses[-1], port, share, local_address, socket_options)


# IANA's registry of special-purpose IPv4 addresses, without the few that are globally reachable.
_SPECIAL_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # not in the registry: the host of an Azure machine, which serves its secrets
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")  # the only allocated part of IPv6
_SPECIAL_IPV6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_EMBEDDING = tuple(IPv6Network(network) for network in ("::/96", "::ffff:0:0/96", "64:ff9b::/96"))
_TEREDO = IPv6Network("2001::/32")
_6TO4 = IPv6Network("2002::/16")


def is_public(address: str) -> bool:
    """Whether an address, in its usual spelling, belongs to the public internet.

    An IPv6 address that embeds an IPv4 address is public if that one is. In 64:ff9b:1::/48 only the network's operator
    knows where the IPv4 address is (RFC 8215), so these are never public.
    """
    parsed = _address(address)
    if parsed is None:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _SPECIAL_IPV4)
    if parsed.scope_id is not None:
        return False
    if embedded := _embedded(parsed):
        return all(is_public(str(one)) for one in embedded)
    return parsed in _GLOBAL_IPV6 and not any(parsed in network for network in _SPECIAL_IPV6)


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to this address reach or pass; empty if it embeds none."""
    bits = int(address)
    if any(address in network for network in _EMBEDDING):
        return (IPv4Address(bits & 0xFFFFFFFF),)
    if address in _6TO4:  # RFC 3056, section 2
        return (IPv4Address(bits >> 80 & 0xFFFFFFFF),)
    if address in _TEREDO:  # RFC 4380, section 4: the server, and the client with inverted bits
        return IPv4Address(bits >> 64 & 0xFFFFFFFF), IPv4Address(~bits & 0xFFFFFFFF)
    return ()


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _host_and_port(allowed: str) -> tuple[str, int | None]:
    found = _HOST_AND_PORT.fullmatch(allowed)
    if found is None or found[2] == "" or (found[2] is not None and not 1 <= int(found[2]) <= 65535):
        raise ValueError(f'{allowed!r} is not an allowed host: write "host", "host:port", "[::1]" or "[::1]:8080".')
    return found[1].strip("[]").lower(), None if found[2] is None else int(found[2])


def _not_public(host: str) -> WebhookRefusedError:
    return WebhookRefusedError(
        f"The webhook's host {host!r} is not on the public internet. Use one that is, or ask the operator of the "
        "service to allow this one."
    )


def _short(url: str) -> str:
    return repr(url if len(url) <= 100 else url[:100] + "…")
