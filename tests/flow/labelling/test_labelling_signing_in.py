"""Guessing passwords: the guesser waits, longer each time; neither the owner elsewhere nor an office does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
from argon2 import PasswordHasher

from labelling_world import rows, workspace_on
from preflab.labelling import clock, passwords, rates, signing_in
from preflab.labelling.accounts import Account, create_account, revoke, set_password
from preflab.labelling.errors import SignInFailed, TooMany
from preflab.labelling.rates import place_of_address, wait_after
from preflab.labelling.signing_in import ADDRESS_TRIES, FREE_TRIES, check_password, know_device, sign_in
from preflab.store.workspace import Workspace

PASSWORD = "correct horse"


class Clock:
    """A clock that is put forward and back by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.began = clock.utc_now()

    def __call__(self) -> datetime:
        return self.began + self.ahead

    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.ahead += timedelta(seconds=seconds)


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    with workspace_on(request.param, tmp_path, url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same argon2id, with the least work it allows."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._dummy_hash.cache_clear()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of sign-ins, which stands still unless it is moved."""
    found = Clock()
    for module in (rates, signing_in):
        monkeypatch.setattr(module, "utc_now", found)
    return found


@pytest.fixture
def ann(ws: Workspace) -> Account:
    return create_account(ws, "Ann", "labeler", PASSWORD)


def wrong(ws: Workspace, name: str = "Ann", address: str = "10.0.0.1", device: str = "") -> None:
    """One guess that is looked at and fails."""
    with pytest.raises(SignInFailed):
        sign_in(ws, name, "wrong password", address, device)


def wait_of(ws: Workspace, name: str = "Ann", address: str = "10.0.0.1", device: str = "") -> int:
    """Seconds that even the right password has to wait."""
    with pytest.raises(TooMany) as caught:
        sign_in(ws, name, PASSWORD, address, device)
    return caught.value.retry_after


def test_waits_double_up_to_a_quarter_of_an_hour() -> None:
    waits = [wait_after(num, FREE_TRIES) for num in range(14)]
    assert waits == [0, 0, 0, 0, 0, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert wait_after(10**6, FREE_TRIES) == 900


def test_a_guesser_waits_longer_each_time(ws: Workspace, ann: Account, time: Clock) -> None:
    for _ in range(FREE_TRIES):
        wrong(ws)
    for expected in (10, 20, 40):
        assert wait_of(ws) == expected
        time.wait(expected - 1)
        assert wait_of(ws) == 1, "asking too early does not make it longer"
        ws.engine.dispose()  # nor does a restart make it shorter
        time.wait(1)
        wrong(ws)
    time.wait(80)
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1") == ann
    wrong(ws)
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1") == ann, "who has shown who they are begins anew"


def test_the_owner_elsewhere_does_not_wait(ws: Workspace, ann: Account, time: Clock) -> None:
    for _ in range(FREE_TRIES):
        wrong(ws)
    wait_of(ws)
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.2") == ann
    wait_of(ws)  # which is no way out for the guesser
    content = "".join(str(row) for row in rows(ws, "SELECT * FROM attempts"))
    assert "10.0.0.1" not in content, "no address is kept"


def test_a_known_device_beside_the_guesser_does_not_wait(ws: Workspace, ann: Account, time: Clock) -> None:
    device = know_device(ws, ann.id)
    for _ in range(FREE_TRIES):
        wrong(ws)
    wait_of(ws)
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1", device) == ann
    for _ in range(FREE_TRIES):
        wrong(ws, device=device)
    assert wait_of(ws, device=device) == 10, "a device that guesses waits by itself"
    create_account(ws, "Bob", "labeler", PASSWORD)
    for _ in range(FREE_TRIES):
        wrong(ws, "Bob", device=device)
    assert wait_of(ws, "Bob", device=device) == 10, "it is known for its own account alone"


def test_an_office_behind_one_address_is_never_locked_out(ws: Workspace, ann: Account, time: Clock) -> None:
    for number in range(ADDRESS_TRIES):
        wrong(ws, f"somebody {number}")
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1") == ann, "a right password at the first try"
    wrong(ws)
    assert wait_of(ws) == 10, "but only one try is free now"
    time.wait(10)
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1") == ann
    wrong(ws, address="10.0.0.2")
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.2") == ann
    time.wait(15 * 60)
    wrong(ws)
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1") == ann, "and it is forgotten after a while"


def test_many_guesses_at_once_are_no_more_than_one_after_the_other(ws: Workspace, ann: Account, time: Clock) -> None:
    def guess(number: int) -> str:
        try:
            sign_in(ws, "Ann", f"wrong password {number}", "10.0.0.1")
        except (TooMany, SignInFailed) as error:
            return type(error).__name__
        return "let in"

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(guess, range(24)))
    assert sorted(said) == ["SignInFailed"] * FREE_TRIES + ["TooMany"] * (24 - FREE_TRIES)


@pytest.mark.parametrize("hours", [20, 24 * 400])
def test_a_clock_that_was_ahead_for_a_moment_locks_nobody_out(
    ws: Workspace, ann: Account, time: Clock, hours: int
) -> None:
    time.ahead = timedelta(hours=hours)
    for _ in range(FREE_TRIES):
        wrong(ws)
    assert wait_of(ws) == 10
    time.ahead = timedelta()
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1") == ann
    for _ in range(FREE_TRIES):
        wrong(ws)
    time.ahead = -timedelta(hours=hours)
    assert sign_in(ws, "Ann", PASSWORD, "10.0.0.1") == ann


def test_a_clock_a_little_behind_waits_no_longer_than_the_longest(ws: Workspace, ann: Account, time: Clock) -> None:
    for _ in range(FREE_TRIES):
        wrong(ws)
    time.ahead = -timedelta(seconds=50)
    assert wait_of(ws) == 60
    for number in range(8):
        time.wait(wait_after(FREE_TRIES + number, FREE_TRIES) + 50)
        wrong(ws)
    time.wait(-50)
    assert wait_of(ws) == 900


def test_who_is_signed_in_changes_the_password_whatever_others_try(ws: Workspace, ann: Account, time: Clock) -> None:
    for _ in range(FREE_TRIES):
        wrong(ws)
    check_password(ws, ann, PASSWORD)
    for _ in range(FREE_TRIES):
        with pytest.raises(SignInFailed, match="current password"):
            check_password(ws, ann, "wrong password")
    with pytest.raises(TooMany):
        check_password(ws, ann, PASSWORD)
    time.wait(10)
    check_password(ws, ann, PASSWORD)


def test_a_device_is_made_by_the_app_alone_and_ends_with_password_and_account(ws: Workspace, ann: Account) -> None:
    create_account(ws, "Lead", "lead")
    bob = create_account(ws, "Bob", "labeler", PASSWORD)
    device = know_device(ws, ann.id, "chosen by an attacker")
    assert device != "chosen by an attacker"
    assert know_device(ws, ann.id, device) == device
    assert know_device(ws, bob.id, device) == device, "two people may share a browser"
    content = "".join(str(row) for row in rows(ws, "SELECT * FROM devices"))
    assert device not in content, "only its hash is stored"
    assert len(rows(ws, "SELECT * FROM devices")) == 2
    set_password(ws, ann.id, "another horse")
    assert [row.account_id for row in rows(ws, "SELECT * FROM devices")] == [bob.id]
    revoke(ws, bob.id)
    assert rows(ws, "SELECT * FROM devices") == []


def test_a_device_is_forgotten_after_400_days(ws: Workspace, ann: Account, time: Clock) -> None:
    device = know_device(ws, ann.id)
    time.ahead = timedelta(days=401)
    for _ in range(FREE_TRIES):
        wrong(ws, device=device)
    assert wait_of(ws) == 10, "counted with its address"
    assert know_device(ws, ann.id, device) != device


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_customer_count_as_one(address: str, place: str) -> None:
    assert place_of_address(address) == place


def test_an_unknown_name_takes_as_long_as_a_known_one(ws: Workspace, ann: Account) -> None:
    """With work enough to be seen; the very first guess of all is among those timed."""
    passwords.HASHER = PasswordHasher(time_cost=4, memory_cost=8 * 1024, parallelism=1)
    set_password(ws, ann.id, PASSWORD)
    passwords._dummy_hash.cache_clear()

    def seconds(name: str, number: int) -> float:
        began = perf_counter()
        wrong(ws, name, address=f"10.0.{number}.1")
        return perf_counter() - began

    seconds("Nobody 0", 200)
    pairs = [(seconds("Ann", number), seconds(f"Nobody {number}", number)) for number in range(9)]
    known, unknown = (median(times) for times in zip(*pairs, strict=True))
    assert 0.6 < unknown / known < 1.6
    assert passwords._dummy_hash.cache_info().misses == 1, "the hash of nobody is made once, for the first name"
