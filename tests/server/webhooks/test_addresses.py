"""Where webhooks may go: addresses in every spelling, and names whose addresses change."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Any

import httpcore2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.webhooks.receiver import running_receiver
from whisperlite.server.webhooks import addresses as addresses_module
from whisperlite.server.webhooks.addresses import (
    Addresses,
    CheckedBackend,
    LookUpError,
    WebhookRefusedError,
    is_public,
    parse_url,
)

NOT_PUBLIC_IPV4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]

# Every IPv6 form that embeds an IPv4 address, as 128 bits.
EMBEDDED: dict[str, Callable[[int], int]] = {
    "mapped": lambda v4: 0xFFFF << 32 | v4,
    "compatible": lambda v4: v4,
    "NAT64": lambda v4: 0x64FF9B << 96 | v4,
    "6to4": lambda v4: 0x2002 << 112 | v4 << 80 | 1,
    "Teredo client": lambda v4: 0x20010000 << 96 | 0x08080808 << 64 | v4 ^ 0xFFFFFFFF,
    "Teredo server": lambda v4: 0x20010000 << 96 | v4 << 64 | 0x08080808 ^ 0xFFFFFFFF,
}
LOCAL_NAT64: dict[str, Callable[[int], int]] = {
    "/48": lambda v4: 0x64FF9B0001 << 80 | (v4 >> 16) << 64 | (v4 & 0xFFFF) << 40,
    "/96": lambda v4: 0x64FF9B0001 << 80 | v4,
}


def not_public_ipv4() -> st.SearchStrategy[IPv4Address]:
    return st.sampled_from([IPv4Network(network) for network in NOT_PUBLIC_IPV4]).flatmap(
        lambda network: st.integers(0, network.num_addresses - 1).map(lambda place: network[place])
    )


@given(not_public_ipv4())
def test_no_special_ipv4_address_is_public_in_any_form(address: IPv4Address) -> None:
    assert not is_public(str(address))
    for name, embed in (EMBEDDED | LOCAL_NAT64).items():
        assert not is_public(str(IPv6Address(embed(int(address))))), name


@given(st.sampled_from([IPv4Address("1.1.1.1"), IPv4Address("8.8.8.8"), IPv4Address("223.255.255.254")]))
def test_a_public_ipv4_address_is_public_in_each_form(address: IPv4Address) -> None:
    assert is_public(str(address))
    for name, embed in EMBEDDED.items():
        assert is_public(str(IPv6Address(embed(int(address))))), name


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_public_that_the_standard_library_knows_as_another(address: IPv4Address) -> None:
    is_special = not address.is_global or address.is_multicast or address.is_reserved
    assert not (is_special and is_public(str(address)))


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_is_public_that_the_standard_library_knows_as_another(address: IPv6Address) -> None:
    is_special = address.is_loopback or address.is_link_local or address.is_site_local or address.is_multicast
    assert not (is_special and is_public(str(address)))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "168.63.129.16",
        "255.255.255.255",
        "192.0.0.192",
        "192.88.99.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001:2::1",
        "2001:20::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "::ffff:0:7f00:1",
        "64:ff9b:1::808:808",
        "4000::1",
        "",
        "localhost",
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["2606:4700:4700::1111", "2a00:1450:4001:82a::200e", "172.15.255.255", "100.128.0.0"]
)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("ftp://example.com/", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("example.com/hook", "http:// or https://"),
        ("", "http:// or https://"),
        ("http://", "no host"),
        ("http:///hook", "no host"),
        ("http://:80/", "no host"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:65536/", "port 65536"),
        ("https://example.com:http/", "no host"),
        ("https://example.com:-1/", "no host"),
        ("https://example.com/ hook", "a space"),
        ("https://example.com/\r\nhost:", "a control character"),
        ("https://exa\tmple.com/", "a control character"),
        ("https://exämple.com/", "beyond ASCII"),
        ("https://example.com\\@127.0.0.1/", "a backslash"),
        ("https://example.com/#part", "fragment"),
        ("https://[::1", "not a URL"),
        ("https://[::1%25eth0]/", "webhook="),
        ("https://[1.2.3.4]/", "webhook="),
        ("https://[12345::1]/", "webhook="),
        ("https://127.0.0.1%2f@/", "user name"),
        ("https://exam%70le.com/", "not a name or an address"),
        pytest.param("https://example.com/" + "a" * 2048, "2068 characters", id="long"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused(url: str, part: str) -> None:
    with pytest.raises(WebhookRefusedError, match=part):
        Addresses().check_url(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(WebhookRefusedError, match="a password") as caught:
        Addresses().check_url("https://anna:geheim@example.com/")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]:8080/", "https://169.254.169.254/latest/"])
def test_an_address_in_a_url_is_refused_without_a_look_up(url: str) -> None:
    with pytest.raises(WebhookRefusedError, match="not on the public internet"):
        Addresses().check_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "http://Example.com:8080/a;b?c=%20", "https://8.8.8.8/", "https://[2606:4700::1111]:1/"],
)
def test_an_ordinary_url_passes(url: str) -> None:
    Addresses().check_url(url)


def test_a_url_keeps_its_path_parameters_and_query() -> None:
    target = parse_url("HTTPS://Example.com:8443/a;b=1?c=d%20e&f")
    assert (target.scheme, target.host, target.port, target.path) == ("https", "example.com", 8443, "/a;b=1?c=d%20e&f")
    assert target.host_header == "example.com:8443"


def test_the_host_header_has_an_ipv6_address_in_brackets_and_no_usual_port() -> None:
    assert parse_url("https://[2606:4700::1]:443/").host_header == "[2606:4700::1]"
    assert parse_url("http://example.com").host_header == "example.com"


@pytest.mark.parametrize(
    "allowed", ["", "a b", "http://localhost", "localhost:", "localhost:0", "localhost:99999", "::1"]
)
def test_an_allowed_host_that_is_none_is_an_error(allowed: str) -> None:
    with pytest.raises(ValueError, match="is not an allowed host"):
        Addresses(frozenset({allowed}))


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("localhost", "http://LOCALHOST:8080/"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("[::1]", "http://[::1]:9/"),
        ("[::1]:80", "http://[::1]/"),
    ],
)
def test_an_allowed_host_passes(allowed: str, url: str) -> None:
    addresses = Addresses(frozenset({allowed}))
    addresses.check_url(url)
    target = parse_url(url)
    found = asyncio.run(addresses.resolve(target.host, target.port))
    assert all(ip_address(address).is_loopback for address in found)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8081/", "http://127.0.0.2:8080/", "http://[::1]:8080/"])
def test_what_is_beside_an_allowed_host_is_refused(url: str) -> None:
    with pytest.raises(WebhookRefusedError):
        Addresses(frozenset({"127.0.0.1:8080"})).check_url(url)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "10.0.0.1", "::ffff:127.0.0.1", "::1"]
)
def test_an_inner_address_is_refused_in_any_spelling(host: str) -> None:
    with pytest.raises(WebhookRefusedError, match=r"not on the public internet|has no address"):
        asyncio.run(Addresses().resolve(host, 80))


def test_a_host_without_an_address_is_refused() -> None:
    for host in ("a" * 64 + ".com", "a..b"):
        with pytest.raises(WebhookRefusedError, match="not on the public internet"):
            asyncio.run(Addresses().resolve(host, 80))


class Names:
    """A name server that gives these answers in turn; the last one is repeated."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, _: str, port: int, *__: object, **___: object) -> list[tuple[Any, ...]]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answer
        ]


@pytest.mark.parametrize(
    "inner", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
)
def test_one_inner_address_among_public_ones_is_refused_and_not_told(
    monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(["8.8.8.8", inner, "2606:4700::1"]))
    with pytest.raises(WebhookRefusedError, match=r"hooks\.test") as caught:
        asyncio.run(Addresses().resolve("hooks.test", 443))
    assert inner not in str(caught.value)


def test_public_addresses_are_told_once_each_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(["2606:4700::1", "8.8.8.8", "2606:4700::1"]))
    assert asyncio.run(Addresses().resolve("hooks.test", 443)) == ["2606:4700::1", "8.8.8.8"]


def test_a_look_up_that_hangs_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(addresses_module, "_RESOLVE_S", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(5.0))
    try:
        with pytest.raises(WebhookRefusedError, match=r"within 0\.05 s"):
            asyncio.run(Addresses().resolve("hooks.test", 443))
        assert not answer.is_set()
    finally:
        answer.set()


def test_look_ups_that_hang_keep_none_of_the_loops_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(addresses_module, "_RESOLVE_S", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(5.0))

    async def resolve_many() -> None:
        addresses = Addresses()
        hanging = [addresses.resolve(f"hooks-{place}.test", 443) for place in range(100)]
        found = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(one, WebhookRefusedError) for one in found)
        await asyncio.wait_for(asyncio.to_thread(int), 1.0)

    try:
        asyncio.run(resolve_many())
    finally:
        answer.set()


def slow_where_named_so(answer: threading.Event) -> Callable[..., list[tuple[Any, ...]]]:
    """Look-ups that give a public address; those of names that begin with "slow" wait until they are released."""
    public = Names(["8.8.8.8"])

    def look_up(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        if host.startswith("slow"):
            answer.wait(5.0)
        return public(host, port)

    return look_up


def test_look_ups_that_hang_for_one_owner_leave_the_others_some_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    async def resolve_all() -> None:
        addresses = Addresses()
        slow = [asyncio.ensure_future(addresses.resolve(f"slow-{place}.test", 443, "anna")) for place in range(3)]
        await asyncio.sleep(0)  # they begin
        try:
            assert await addresses.resolve("hooks.test", 443, "ben") == ["8.8.8.8"]
        finally:
            answer.set()
        assert await asyncio.gather(*slow) == [["8.8.8.8"]] * 3

    monkeypatch.setattr(addresses_module, "_MOST_LOOKUPS", 2)
    monkeypatch.setattr(addresses_module, "_MOST_OF_ONE", 1)
    monkeypatch.setattr(socket, "getaddrinfo", slow_where_named_so(answer))
    asyncio.run(resolve_all())


def test_look_ups_that_hang_count_after_nobody_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = threading.Event(), list[str]()

    def look_up(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        answer.wait(5.0)
        return []

    async def resolve_one_by_one() -> None:
        addresses = Addresses()
        for host in ("one.test", "two.test"):
            with pytest.raises(WebhookRefusedError, match="could not be looked up"):
                await addresses.resolve(host, 443, "anna")

    monkeypatch.setattr(addresses_module, "_RESOLVE_S", 0.05)
    monkeypatch.setattr(addresses_module, "_MOST_OF_ONE", 1)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        asyncio.run(resolve_one_by_one())
    finally:
        answer.set()
    assert asked == ["one.test"]


def test_look_ups_that_hang_for_the_only_owner_leave_it_the_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    async def resolve_all() -> None:
        addresses = Addresses(has_many=lambda: False)
        slow = asyncio.ensure_future(addresses.resolve("slow.test", 443))
        await asyncio.sleep(0)  # it begins
        try:
            assert await addresses.resolve("hooks.test", 443) == ["8.8.8.8"]
        finally:
            answer.set()
        assert await slow == ["8.8.8.8"]

    monkeypatch.setattr(addresses_module, "_MOST_LOOKUPS", 2)
    monkeypatch.setattr(addresses_module, "_MOST_OF_ONE", 1)
    monkeypatch.setattr(socket, "getaddrinfo", slow_where_named_so(answer))
    asyncio.run(resolve_all())


def test_a_look_up_for_which_no_thread_can_be_started_counts_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(addresses_module, "_MOST_OF_ONE", 1)
    monkeypatch.setattr(socket, "getaddrinfo", Names(["8.8.8.8"]))
    addresses = Addresses()
    with monkeypatch.context() as patches:
        patches.setattr(ThreadPoolExecutor, "submit", fail)
        with pytest.raises(LookUpError, match="could not be looked up"):
            asyncio.run(addresses.resolve("hooks.test", 443, "anna"))
    assert asyncio.run(addresses.resolve("hooks.test", 443, "anna")) == ["8.8.8.8"]


def connected_to(monkeypatch: pytest.MonkeyPatch, fails: frozenset[str] = frozenset()) -> list[str]:
    """The addresses that the event loop connects to; no connection leaves this process."""
    asked: list[str] = []

    async def connect(_: httpcore2.AnyIOBackend, host: str, *__: object) -> httpcore2.AsyncNetworkStream:
        asked.append(host)
        if host in fails:
            raise httpcore2.ConnectError("no")
        return httpcore2.AsyncMockStream([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    return asked


def test_a_name_that_changes_its_meaning_is_connected_to_where_it_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    asked = connected_to(monkeypatch)
    asyncio.run(_connect(CheckedBackend(Addresses()).connect_tcp("hooks.test", 443)))
    assert (asked, names.asked) == (["8.8.8.8"], 1)


def test_a_real_connection_looks_nothing_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_receiver() as receiver:
        names = Names(["127.0.0.1"], ["8.8.8.8"])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        backend = CheckedBackend(Addresses(frozenset({"hooks.test"})))
        peer = asyncio.run(_connect(backend.connect_tcp("hooks.test", receiver.port, timeout=5.0)))
    assert (peer, names.asked) == (("127.0.0.1", receiver.port), 1)


def test_a_name_that_has_come_to_mean_an_inner_address_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(["127.0.0.1"]))
    asked = connected_to(monkeypatch)
    with pytest.raises(WebhookRefusedError):
        asyncio.run(_connect(CheckedBackend(Addresses()).connect_tcp("hooks.test", 443)))
    assert asked == []


def test_the_next_address_is_tried_when_one_takes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(["2606:4700::1", "8.8.8.8"]))
    asked = connected_to(monkeypatch, fails=frozenset({"2606:4700::1"}))
    asyncio.run(_connect(CheckedBackend(Addresses()).connect_tcp("hooks.test", 443)))
    assert asked == ["2606:4700::1", "8.8.8.8"]


def test_when_none_takes_a_connection_no_more_than_three_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    public = [f"8.8.8.{place}" for place in range(10)]
    monkeypatch.setattr(socket, "getaddrinfo", Names(public))
    asked = connected_to(monkeypatch, fails=frozenset(public))
    with pytest.raises(httpcore2.ConnectError):
        asyncio.run(_connect(CheckedBackend(Addresses()).connect_tcp("hooks.test", 443)))
    assert asked == public[:3]


async def _connect(connecting: Awaitable[httpcore2.AsyncNetworkStream]) -> Any:
    stream = await connecting
    peer = stream.get_extra_info("server_addr")
    await stream.aclose()
    return peer
