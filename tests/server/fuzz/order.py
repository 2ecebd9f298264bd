"""Order of messages and of comings and goings: hypothesis draws what several tabs do, and a model says what is right.

A tab has a token of some scopes. Whatever the others do, its message gets exactly one answer, of the kind that its
scopes and its own past call for; its strength, mirror and viewing name are those that it chose; and the server has as
many sessions as there are tabs and publications.
"""

import json
import random
from collections import Counter
from itertools import combinations
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from websockets.exceptions import ConnectionClosed

from server.security.grant import GRANTABLE, Scope
from server.session.viewers import viewing_name
from tests.server.client import Running
from tests.server.fuzz.answers import ErrorLog, improper
from tests.server.fuzz.odd_messages import odd_message
from tests.server.fuzz.odd_offers import BASES, CANDIDATE, odd_offer
from tests.server.fuzz.tabs import LIMIT_S, Choices, HalfOpen, Person, Tab, eventually, token

EVERYTHING = frozenset(GRANTABLE)
SUBSETS = [frozenset(chosen) for size in range(len(GRANTABLE)) for chosen in combinations(GRANTABLE, size)]
SCOPES = st.sampled_from([EVERYTHING] * len(SUBSETS) + SUBSETS)  # the empty one: without a token
NUMBERS = st.integers(0, 2**32)
CLOSED_FOR = (1003, 1007, 1008, 1009)  # what a message may end its own socket with
MAX_TABS, MAX_PUBLICATIONS, PLACES = 6, 2, 16
VIEWER_OFFER = BASES[0].replace("a=sendrecv", "a=recvonly")


class Order(RuleBasedStateMachine):
    """The tabs of one server, and the publications."""

    server: Running
    log: ErrorLog
    steps: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Tab] = []  # all of them, also those that are closed
        self.people: list[Person] = []
        self.publications: list[str] = []
        self.choices: dict[str, Choices] = {}
        self.lost: dict[str, Choices] = {}  # of tabs that went without a word
        self.left: list[str] = []  # sessions of tabs that said that they go
        self.half_open: list[HalfOpen] = []
        headers = {"authorization": f"Bearer {token(self.server, EVERYTHING)}"}
        self.http = httpx.Client(base_url=self.server.http, trust_env=False, timeout=LIMIT_S, headers=headers)

    # ---- coming

    @precondition(lambda self: len(self.people) < MAX_TABS)
    @rule(scopes=SCOPES)
    def come(self, scopes: frozenset[Scope]) -> None:
        """A tab opens; one that may not control hears why."""
        tab = self._open(scopes)
        if "control" not in scopes:
            self._refused(tab, "forbidden" if scopes else "unauthorized")
            return
        self.steps["come"] += 1
        assert tab.first["type"] == "welcome", tab.first
        self.people.append(Person(tab, scopes, tab.first["session"], False))
        self.choices[tab.first["session"]] = Choices(tab.first["view"])

    @precondition(lambda self: len(self.people) < MAX_TABS)
    @rule(scopes=SCOPES, number=NUMBERS)
    def come_to_publication(self, scopes: frozenset[Scope], number: int) -> None:
        """A control socket opens at a publication, or at something that is none; who controlled it is hung up on."""
        others = ["nobody", "", *(person.session for person in self.people if not person.published)]
        names = [*self.publications * len(others), *others]
        name = names[number % len(names)]
        tab = self._open(scopes, f"?session={name}")
        if "control" not in scopes:
            self._refused(tab, "forbidden" if scopes else "unauthorized")
        elif name not in self.publications:
            self._refused(tab, "no_session")
        else:
            self.steps["come to publication"] += 1
            assert tab.first["type"] == "welcome", tab.first
            assert tab.first["session"] == name
            for before in [each for each in self.people if each.session == name]:
                assert before.tab.closed_with() == 1008
                self.people.remove(before)
            self.people.append(Person(tab, scopes, name, True))

    @precondition(lambda self: len(self.publications) < MAX_PUBLICATIONS)
    @rule(number=NUMBERS, strength=st.floats(0, 1))
    def publish(self, number: int, strength: float) -> None:
        """A program publishes."""
        answer = self._post("/whip", BASES[number % len(BASES)], {"strength": str(strength)})
        assert answer.status_code == 201, answer.text
        self.steps["publish"] += 1
        name = answer.headers["location"].rpartition("/")[2]
        self.publications.append(name)
        self.choices[name] = Choices(answer.headers["relight-view"].rpartition("/")[2])
        self.choices[name].strength = strength

    @rule(sent=st.integers(0, 90))
    def half_open_one(self, sent: int) -> None:
        """Somebody begins a request and stays silent."""
        self.half_open.append(HalfOpen(self.server, sent))

    # ---- speaking

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, value=st.floats(0, 1))
    def set_strength(self, number: int, value: float) -> None:
        """A choice is kept."""
        person = self._person(number)
        if self._ask(person, "control", "ack", type="set_strength", value=value):
            self.choices[person.session].strength = value

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, on=st.booleans())
    def mirror(self, number: int, on: bool) -> None:
        """Another one is kept."""
        person = self._person(number)
        if self._ask(person, "control", "ack", type="mirror", on=on):
            self.choices[person.session].mirror = on

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, key=st.text(min_size=16, max_size=20).filter(lambda text: text.isprintable()))
    def set_viewing_key(self, number: int, key: str) -> None:
        """The viewing name follows from the key."""
        person = self._person(number)
        if self._ask(person, "control", "ack", type="set_viewing_key", key=key):
            self.choices[person.session].view = viewing_name(key)

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, base=st.sampled_from(BASES))
    def offer(self, number: int, base: str) -> None:
        """A good offer is answered, the second one of a tab too; not where the picture comes by WHIP."""
        person = self._person(number)
        wanted = "bad_message" if person.published else "answer"
        if self._ask(person, "publish", wanted, type="offer", sdp=base):
            self.choices[person.session].offered = True
            assert self._ask(person, "publish", "ack", type="candidate", candidate=None)

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, drawn=NUMBERS)
    def odd_offer(self, number: int, drawn: int) -> None:
        """An odd one is answered or refused, in words; what was there stays."""
        person = self._person(number)
        sdp = odd_offer(random.Random(drawn)) or " "
        if self._ask(person, "publish", "", type="offer", sdp=sdp):
            self.choices[person.session].offered = True

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, last=st.booleans())
    def candidate(self, number: int, last: bool) -> None:
        """A candidate needs an offer before it; a connection whose checks failed meanwhile has gone again."""
        person = self._person(number)
        candidate = {"candidate": CANDIDATE[2:].strip(), "sdpMid": "0", "sdpMLineIndex": 0}
        fresh = not person.published and not self.choices[person.session].offered
        self._ask(
            person, "publish", "bad_message" if fresh else "", type="candidate", candidate=None if last else candidate
        )

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, drawn=NUMBERS)
    def odd(self, number: int, drawn: int) -> None:
        """Anything gets one answer, or ends this one socket."""
        # What it changes is not in the model: it is said in a session of its own, with the scopes of this person.
        said = odd_message(random.Random(drawn))
        other = self._open(self._person(number).scopes)
        assert other.first["type"] == "welcome", other.first
        self.steps["odd"] += 1
        try:
            (answer,) = other.say(said)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else None
            if code not in CLOSED_FOR:
                raise
            return
        self._proper(answer)
        other.close()

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, count=st.integers(2, 30))
    def many_at_once(self, number: int, count: int) -> None:
        """Who does not wait for answers gets all of them, in order."""
        person = self._person(number)
        self.steps["many at once"] += 1
        for k in range(count):
            person.tab.send(json.dumps({"type": "ping", "t": k, "id": k}))
        answers = person.tab.say(json.dumps({"type": "nothing of ours", "id": "last"}))
        assert [answer["id"] for answer in answers] == [*range(count), "last"]

    # ---- coming back

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, other=NUMBERS)
    def resume(self, number: int, other: int) -> None:
        """A tab goes on as a lost one, or as one that is open still; not as itself, and not as a publication."""
        person = self._person(number)
        names = [*self.lost, *self.choices, "nobody"]
        name = names[other % len(names)]
        own, offered = name == person.session, self.choices[person.session].offered
        wanted = "ack" if name in {*self.lost, *self.choices} - {*self.publications} else "no_session"
        if person.published or own:
            wanted = "bad_message"
        elif offered:  # its connection may have failed meanwhile
            wanted = ""
        if self._ask(person, "publish", wanted, type="resume", session=name):
            self._resumed(person, name)

    @precondition(lambda self: self.left)
    @rule(number=NUMBERS)
    def resume_what_was_left(self, number: int) -> None:
        """Who said that they go left nothing behind."""
        tab = self._open(EVERYTHING)
        (answer,) = tab.say(json.dumps({"type": "resume", "session": self.left[number % len(self.left)]}))
        assert answer.get("code") == "no_session", answer
        tab.close()

    @precondition(lambda self: any(not each.published for each in self.people))
    @rule(number=NUMBERS, tabs=st.integers(1, 3))
    def come_back(self, number: int, tabs: int) -> None:
        """A tab vanishes, and others resume it before the server has noticed: one goes on with it."""
        owners = [each for each in self.people if not each.published]
        owner = owners[number % len(owners)]
        name = owner.session
        self._ask(owner, "control", "ack", type="mirror", on=True)
        self.choices[name].mirror = True
        new = [self._open(EVERYTHING) for _ in range(tabs)]
        for tab in new:
            self.people.append(Person(tab, EVERYTHING, tab.first["session"], False))
            self.choices[tab.first["session"]] = Choices(tab.first["view"])
        self._gone(owner, lost=True).tab.vanish()
        for tab in new:
            tab.send(json.dumps({"type": "resume", "session": name, "id": "r"}))
        answers = [tab.say(json.dumps({"type": "pause", "on": False}))[0] for tab in new]
        assert sorted(each.get("code", "ack") for each in answers) == ["ack"] + ["no_session"] * (tabs - 1), answers
        for person, answer in zip(self.people[-tabs:], answers, strict=True):
            self._proper(answer)
            if answer["type"] == "ack":
                self._resumed(person, name)
        self.steps[f"come back in {tabs}"] += 1

    # ---- viewing

    @precondition(lambda self: self.choices)
    @rule(number=NUMBERS, scopes=SCOPES, stays=st.booleans())
    def view(self, number: int, scopes: frozenset[Scope], stays: bool) -> None:
        """Who may view gets an answer to a viewer's offer."""
        names = [choice.view for choice in self.choices.values()]
        headers = {"authorization": f"Bearer {token(self.server, scopes)}"} if scopes else {"authorization": ""}
        answer = self._post(f"/whep/{names[number % len(names)]}", VIEWER_OFFER, {}, headers)
        wanted = (201, 503) if "view" in scopes else (403,) if scopes else (401,)
        assert answer.status_code in wanted, answer.text
        if answer.status_code == 201:
            self.steps["view"] += 1
            if not stays:
                assert self.http.delete(answer.headers["location"]).status_code == 200
        else:
            self._proper(answer.json())

    # ---- going

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, code=st.sampled_from((1000, 1001, 3000, 4999)))
    def close(self, number: int, code: int) -> None:
        """A tab closes; it may say that it does not mean to come back."""
        self._gone(self._person(number), lost=code not in (1000, 1001)).tab.close(code)

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS)
    def vanish(self, number: int) -> None:
        """A tab is gone without a word."""
        self._gone(self._person(number), lost=True).tab.vanish()

    @precondition(lambda self: self.people)
    @rule(number=NUMBERS, base=st.sampled_from(BASES))
    def close_amid_an_offer(self, number: int, base: str) -> None:
        """A tab is gone before its answer came."""
        person = self._gone(self._person(number), lost=True)
        person.tab.send(json.dumps({"type": "offer", "sdp": base}))
        person.tab.vanish()

    @precondition(lambda self: self.publications)
    @rule(number=NUMBERS)
    def unpublish(self, number: int) -> None:
        """A publication ends, and with it the socket that controls it."""
        name = self.publications.pop(number % len(self.publications))
        del self.choices[name]
        answer = self.http.delete(f"/whip/{name}")
        assert answer.status_code == 200, answer.text
        self.steps["unpublish"] += 1
        for person in [each for each in self.people if each.session == name]:
            assert person.tab.closed_with() == 1000
            self.people.remove(person)

    # ---- what always holds

    @invariant()
    def sessions_are_those_of_the_tabs(self) -> None:
        """Nothing is left over, nothing is missing, and nobody changed what another one chose."""
        sessions = self.server.server.sessions
        eventually(
            lambda: sessions.keys() == self.choices.keys(), lambda: f"{set(sessions)} are not {set(self.choices)}"
        )
        for name, choice in self.choices.items():
            requested = sessions[name].requested
            found = (requested.light.strength, requested.mirror, sessions[name].view)
            assert found == (choice.strength, choice.mirror, choice.view)
        assert self.log.take() == []

    def teardown(self) -> None:
        """Everybody leaves; the places are free again."""
        for name in self.publications:
            self.http.delete(f"/whip/{name}")
        for tab in self.opened:
            tab.close()
        for half in self.half_open:
            half.close()
        self.http.close()
        server = self.server.server
        eventually(lambda: not server.sessions, lambda: f"sessions are left: {set(server.sessions)}")
        eventually(lambda: len(server.admission) == 0, lambda: "a place is left")
        assert self.log.take() == []

    # ---- inside

    def _open(self, scopes: frozenset[Scope], query: str = "") -> Tab:
        self.opened.append(Tab(self.server, token(self.server, scopes) if scopes else None, query))
        return self.opened[-1]

    def _person(self, number: int) -> Person:
        return self.people[number % len(self.people)]

    def _gone(self, person: Person, lost: bool) -> Person:
        self.steps["go"] += 1
        self.people.remove(person)
        if not person.published:
            choices = self.choices.pop(person.session)
            if lost:
                self.lost[person.session] = choices
            else:
                self.left.append(person.session)
        return person

    def _resumed(self, person: Person, name: str) -> None:
        """Moves what was chosen in session `name` to this person's; a tab that was there is hung up on."""
        choices = self.lost.pop(name, None) or self.choices.pop(name)
        choices.offered = False
        self.choices[person.session] = choices
        for before in [each for each in self.people if each.session == name]:
            assert before.tab.closed_with() == 1008
            self.people.remove(before)

    def _ask(self, person: Person, scope: Scope, wanted: str, **message: Any) -> bool:
        """Says `message` and returns True for an answer that is no error. `wanted`: type or code, "" any of them."""
        said = {**message, "id": f"{message['type']} 1"}
        (answer,) = person.tab.say(json.dumps(said))
        self._proper(answer)
        kind = answer["code"] if answer["type"] == "error" else answer["type"]
        self.steps[f"{message['type']}: {kind}"] += 1
        assert answer["id"] == said["id"]
        if scope not in person.scopes:
            assert kind == "forbidden", answer
        else:
            assert wanted in ("", kind), (person.published, said, answer)
            assert kind != "forbidden", answer
        return answer["type"] != "error"

    def _refused(self, tab: Tab, code: str) -> None:
        self.steps[f"refused: {code}"] += 1
        assert (tab.first["type"], tab.first["code"]) == ("error", code)
        self._proper(tab.first)
        assert tab.closed_with() == 1008

    def _proper(self, answer: dict[str, Any]) -> None:
        """An error has its three parts and does not blame the server."""
        if answer.get("type", "error") == "error":
            assert improper(answer) == ""

    def _post(
        self, path: str, sdp: str, query: dict[str, str], headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return self.http.post(
            path, content=sdp, params=query, headers={"content-type": "application/sdp", **(headers or {})}
        )
