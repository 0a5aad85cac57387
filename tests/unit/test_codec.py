"""What goes into Redis comes back as it was, or is refused when it is handed in."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.db.models import TextChoices
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from hypothesis import given, settings
from hypothesis import strategies as st

from django_taskq import codec
from django_taskq.codec import HIDDEN, Signature
from django_taskq.exceptions import (
    ArgumentsDoNotBind,
    InvalidArgument,
    MalformedJob,
    PayloadTooLarge,
)
from django_taskq.job import Envelope, Failure

if TYPE_CHECKING:
    from nowhere import Absent  # type: ignore[import-not-found]

MOMENT = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
NUMBER = UUID("12345678-1234-5678-1234-567812345678")


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Mode(StrEnum):
    FAST = "fast"


class Plan(TextChoices):
    FREE = "free", "Free of charge"


class Odd(Enum):
    PAIR = (1, 2)


@dataclass
class Address:
    street: str
    since: date
    tags: list[str] = field(default_factory=list)


@dataclass
class Home(Address):
    floor: int = 0


class Point(msgspec.Struct):
    x: int
    at: datetime


class Span(NamedTuple):
    first: date
    last: date


class Row(TypedDict):
    id: int
    at: datetime


class Stranger:
    pass


class FakeModel:
    """Looks like a model instance, which is what the codec goes by."""

    _meta = object()
    pk = 1


class Moment(datetime):
    """As pendulum and freezegun have them."""


def through(annotation: Any, value: Any) -> Any:
    """``value`` as a function with this annotation would get it, by way of bytes."""

    def func(x):  # type: ignore[no-untyped-def]
        pass

    func.__annotations__ = {"x": annotation}
    signature = Signature(func)
    args, kwargs = signature.dump((value,), {})
    args, kwargs = codec.decode(codec.encode([args, kwargs]))
    (back,), _ = signature.load(args, kwargs)
    return back


def untyped(value: Any) -> Any:
    return Signature(takes_one).dump((value,), {})[0][0]


def takes_one(when):  # type: ignore[no-untyped-def]
    pass


def send_welcome(user_id: int, text: str = "hello", *, urgent: bool = False) -> None:
    pass


def takes_anything(first, /, *rest: date, **named: UUID):  # type: ignore[no-untyped-def]
    pass


def refused(func: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        Signature(func).dump(args, kwargs)
    assert isinstance(caught.value, TypeError)
    return str(caught.value)


# --- plain values ---------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


def identical(one: Any, other: Any) -> bool:
    """Equal and of the same types all the way down: 1 is neither True nor 1.0."""
    return repr(one) == repr(other)


@settings(deadline=None)
@given(json_values)
def test_whatever_is_json_comes_back_the_same(value: Any) -> None:
    assert identical(codec.decode(codec.encode(untyped(value))), value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (OrderedDict(a=(1,)), {"a": [1]}),
        (mark_safe("<b>"), "<b>"),
        ({mark_safe("k"): 1}, {"k": 1}),
        (Level.HIGH, 3),
        (Mode.FAST, "fast"),
        (Plan.FREE, "free"),
        (True, True),
        ("übergrößé \U0001f600", "übergrößé \U0001f600"),
        (b"caf\xc3\xa9", "café"),
        pytest.param(10**4299, 10**4299, id="4,300 digits"),
    ],
)
def test_relatives_of_json_types_become_plain(value: Any, expected: Any) -> None:
    assert identical(untyped(value), expected)
    assert codec.decode(codec.encode(untyped(value))) == expected


def test_what_is_dumped_is_a_copy_that_later_changes_do_not_reach() -> None:
    rows = [{"id": 1}]
    args, _ = Signature(takes_one).dump((rows,), {})
    rows[0]["id"] = 2
    rows.append({})
    assert args == [[{"id": 1}]]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "argument 'when' is nan, which JSON does not have"),
        ([{"at": math.inf}], "argument 'when'[0]['at'] is inf, which JSON does not have"),
        ("\ud800", "argument 'when' has a lone surrogate"),
        ({"a": {1: 2}}, "argument 'when'['a'] has the key 1, and in JSON only strings"),
        ({"\ud800": 1}, "argument 'when' has the key '\\ud800' with a lone surrogate"),
        ({None: 2}, "argument 'when' has the key None"),
        ({True: 2}, "argument 'when' has the key True"),
        pytest.param(10**4300, "is an integer of more than 4,300 digits", id="too long"),
        pytest.param([-(10**5000)], "'when'[0] is an integer of more than", id="far too long"),
        pytest.param({10**5000: 1}, "argument 'when' has the key <int>", id="a key too long"),
        (lazystr("later"), "is a lazy string: turn it into text with str()"),
        (FakeModel(), "is a model instance (FakeModel): pass its primary key"),
        (Stranger(), "argument 'when' is a Stranger, which JSON cannot hold"),
        (1j, "is a complex, which JSON cannot hold"),
        (len, "is a builtin_function_or_method, which JSON cannot hold"),
        (b"\xff", "is a bytes, and the parameter has no annotation"),
        ({1}, "e.g. when: set"),
        (timedelta(1), "e.g. when: timedelta"),
        ([Address("a", date.min)], "argument 'when'[0] is a Address"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path(value: Any, reason: str) -> None:
    message = refused(takes_one, value)
    assert message.startswith("takes_one(): argument 'when'")
    assert reason in message


def test_the_refusal_of_a_date_says_how_to_annotate_it() -> None:
    assert refused(takes_one, MOMENT) == (
        "takes_one(): argument 'when' is a datetime, and the parameter has no annotation that "
        "would bring it back: annotate it, e.g. when: datetime"
    )
    assert refused(takes_one, [{"at": MOMENT}]).endswith("e.g. when: list[dict[str, datetime]]")


def test_the_refusal_names_an_annotation_that_does_not_help() -> None:
    def plain(x: int) -> None: ...
    def model(x: list[Stranger]) -> None: ...

    plain.__annotations__, model.__annotations__ = {"x": int}, {"x": list[Stranger]}
    assert "the annotation int would not bring it back: change it, e.g. x: UUID" in refused(
        plain, NUMBER
    )
    assert "the annotation list[Stranger] cannot bring it back" in refused(model, NUMBER)


def nest(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_nesting_is_limited() -> None:
    assert untyped(nest(64)) == nest(64)
    assert "is nested deeper than 64 levels" in refused(takes_one, nest(65))
    assert len(refused(takes_one, nest(65))) < 200


@pytest.mark.parametrize("annotation", [Any, tuple[Any, ...]])
def test_a_container_that_holds_itself_is_refused(annotation: Any) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidArgument, match="nested deeper than 64 levels"):
        through(annotation, endless)


# --- typed values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime, MOMENT),
        (datetime, MOMENT.replace(tzinfo=None)),
        (datetime, datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)),
        (date, date(1, 1, 1)),
        (datetime, datetime(2026, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))),
        (list[datetime], [datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))]),
        (time, time(23, 59, 59, 999999)),
        (timedelta, timedelta(microseconds=1)),
        (timedelta, timedelta(days=-3, microseconds=7)),
        (timedelta, timedelta.max),
        (UUID, NUMBER),
        (Decimal, Decimal("1.10")),
        (Decimal, Decimal("1E+400")),
        (bytes, b"\xff\x00"),
        (Color, Color.RED),
        (Level, Level.HIGH),
        (Plan, Plan.FREE),
        (Address, Address("Main", date(2020, 1, 1), ["a"])),
        (Point, Point(1, MOMENT)),
        (Span, Span(date.min, date.max)),
        (Row, {"id": 1, "at": MOMENT}),
        (list[date], [date.min, date.max]),
        (dict[str, list[datetime]], {"a": [MOMENT]}),
        (dict[UUID, int], {NUMBER: 1}),
        (dict[int, str], {1: "one"}),
        (dict[date, Address], {date.min: Address("a", date.max)}),
        (set[int], {1, 2}),
        (frozenset[date], frozenset({date.min})),
        (set[tuple[int, date]], {(1, date.min)}),
        (tuple[int, date], (1, date.min)),
        (tuple, (1, "a")),
        (datetime | None, None),
        (datetime | None, MOMENT),
        (int | UUID, NUMBER),
        (Annotated[datetime, "of the order"], MOMENT),
        (Annotated[int, msgspec.Meta(gt=0)], 1),
    ],
)
def test_a_value_comes_back_as_the_type_its_annotation_names(annotation: Any, value: Any) -> None:
    back = through(annotation, value)
    assert back == value or back.isoformat() == value.isoformat()
    assert type(back) is type(value)


def test_a_decimal_keeps_its_digits() -> None:
    assert str(through(Decimal, Decimal("1.10"))) == "1.10"
    assert through(Decimal, Decimal("NaN")).is_nan()


typed_values = st.one_of(
    st.tuples(st.just(datetime), st.datetimes(timezones=st.just(UTC) | st.none())),
    st.tuples(st.just(date), st.dates()),
    st.tuples(st.just(time), st.times()),
    st.tuples(st.just(timedelta), st.timedeltas()),
    st.tuples(st.just(UUID), st.uuids()),
    st.tuples(st.just(Decimal), st.decimals(allow_nan=False)),
    st.tuples(st.just(bytes), st.binary()),
    st.tuples(st.just(set[int]), st.sets(st.integers())),
    st.tuples(st.just(tuple[date | None, ...]), st.lists(st.dates() | st.none()).map(tuple)),
    st.tuples(st.just(Address), st.builds(Address, st.just("a"), st.dates(), st.just(["x"]))),
)


@settings(deadline=None)
@given(typed_values)
def test_typed_values_come_back_exactly(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    back = through(annotation, value)
    assert back == value
    assert type(back) is type(value)
    if isinstance(value, Decimal):
        assert str(back) == str(value)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (datetime, "2026-03-29T01:30:00.123456Z", MOMENT),
        (UUID, str(NUMBER), NUMBER),
        (Decimal, 1.5, Decimal("1.5")),
        (set[int], [1, 2, 2], {1, 2}),
        (Color, "red", Color.RED),
        (Address, {"street": "a", "since": "2020-01-01"}, Address("a", date(2020, 1, 1))),
        (Address, {"street": "a", "since": date(2020, 1, 1)}, Address("a", date(2020, 1, 1))),
        (dict[UUID, int], {str(NUMBER): 1}, {NUMBER: 1}),
        (list[date], (date.min,), [date.min]),
        (datetime, Moment(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        (set[str], [mark_safe("a")], {"a"}),
    ],
)
def test_a_value_already_in_its_json_form_is_taken(
    annotation: Any, value: Any, expected: Any
) -> None:
    back = through(annotation, value)
    assert back == expected
    assert type(back) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        (datetime, "yesterday", "argument 'x' does not fit datetime: Invalid RFC3339"),
        (list[date], [date.min, 5], "argument 'x'[1] does not fit list[date]: Expected `date`"),
        (Point, {"x": 1}, "does not fit Point: Object missing required field `at`"),
        (date, datetime(2026, 1, 1), "does not fit date"),
        (datetime, None, "does not fit datetime: Expected `datetime`, got `null`"),
        (
            Annotated[int, msgspec.Meta(gt=0)],
            0,
            "does not fit Annotated[int, Meta(gt=0)]: Expected `int`",
        ),
        (Row, {"id": 1, "at": MOMENT, "more": 1}, "has the key 'more', which its annotation"),
        (set[str], {date(2026, 1, 1)}, "would come back as"),
        (set[str], [NUMBER], "is a list and would come back as a set"),
        (tuple[str, date], (NUMBER, date.min), "argument 'x'[0] is a UUID and would come back"),
        (tuple, (MOMENT,), "argument 'x'[0] is a datetime and would come back as a str"),
        (Address, Address(NUMBER, date.min), "'x'['street'] is a UUID"),  # type: ignore[arg-type]
        (Address, Home("a", date.min), "is a Home and would come back as a Address"),
        (tuple[Any, ...], ([Stranger()],), "argument 'x'[0][0] is a Stranger"),
        (set[float], {math.nan}, "is nan, which JSON does not have"),
        (set[str], {"\ud800"}, "lone surrogate"),
        (Odd, Odd.PAIR, "the annotation Odd cannot bring it back"),
        (str | date, date.min, "cannot bring it back"),
        (
            datetime,
            datetime(1890, 1, 1, tzinfo=timezone(timedelta(minutes=53, seconds=28))),
            "would come back as",
        ),
    ],
)
def test_what_would_not_come_back_is_refused(annotation: Any, value: Any, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        through(annotation, value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        str,
        float,
        bool,
        None,
        Any,
        list,
        dict,
        object,
        list[int],
        dict[str, list[float]],
        int | None,
        Literal["a"],
        Annotated[int, "doc"],
        Callable[[int], int],
        Stranger,
        list[Stranger],
        "Absent",
        "not python",
    ],
)
def test_plain_and_unknown_annotations_change_and_check_nothing(annotation: Any) -> None:
    for value in ("5", 5, 5.0, True, None, [1, {"a": None}]):
        assert identical(through(annotation, value), value)
    with pytest.raises(InvalidArgument):
        through(annotation, [math.nan])


def half_known(first: Absent, second: date, third: UUID = None):  # type: ignore # noqa: RUF013
    pass


def test_an_annotation_that_does_not_resolve_leaves_the_others_alone() -> None:
    signature = Signature(half_known)
    args, kwargs = signature.dump((1, date.min), {"third": NUMBER})
    assert signature.load(args, kwargs) == ([1, date.min], {"third": NUMBER})


def test_none_is_taken_where_it_is_the_default() -> None:
    signature = Signature(half_known)
    assert signature.dump((1, date.min, None), {}) == ([1, "0001-01-01", None], {})


def declared_before(x: DefinedLater):  # type: ignore[no-untyped-def]
    pass


EARLY = Signature(declared_before)


@dataclass
class DefinedLater:
    day: date


def test_annotations_may_name_what_is_defined_below_the_task() -> None:
    args, _ = EARLY.dump((DefinedLater(date.min),), {})
    assert EARLY.load(args, {})[0] == [DefinedLater(date.min)]


class TestPydantic:
    """Known by its methods, so nothing of ours imports it."""

    @pytest.fixture
    def pydantic(self) -> Any:
        return pytest.importorskip("pydantic")

    @pytest.fixture
    def order(self, pydantic: Any) -> Any:
        return pydantic.create_model(
            "Order", at=(datetime, ...), secret=(pydantic.SecretStr | None, None)
        )

    def test_models_come_back(self, order: Any) -> None:
        value = order(at=MOMENT)
        assert through(order, value) == value
        assert through(list[order], [value]) == [value]
        assert through(order | None, None) is None

    def test_their_json_form_is_taken(self, order: Any) -> None:
        assert through(order, {"at": "2026-03-29T01:30:00.123456Z"}) == order(at=MOMENT)

    def test_what_does_not_validate_is_refused(self, order: Any) -> None:
        with pytest.raises(InvalidArgument, match="argument 'x' does not fit Order"):
            through(order, {"at": "soon"})

    def test_a_secret_that_its_dump_hides_is_refused(self, order: Any) -> None:
        with pytest.raises(InvalidArgument, match="would come back as"):
            through(order, order(at=MOMENT, secret="x"))

    def test_without_the_annotation_it_is_refused_with_a_hint(self, order: Any) -> None:
        assert "annotate it, e.g. when: Order" in refused(takes_one, order(at=MOMENT))


# --- binding --------------------------------------------------------------------------------------

MISFITS = [
    (send_welcome, (), {}, "send_welcome() lacks the argument 'user_id'"),
    (send_welcome, (1, "a", 3), {}, "takes at most 2 positional arguments, and 3 were given"),
    (send_welcome, (1,), {"user_id": 2}, "was given the argument 'user_id' twice"),
    (send_welcome, (1,), {"txt": "a"}, "takes no argument 'txt'"),
    (send_welcome, (), {"text": "a"}, "lacks the argument 'user_id'"),
    (takes_anything, (), {"first": 1}, "lacks the argument 'first'"),
]


@pytest.mark.parametrize(("func", "args", "kwargs", "reason"), MISFITS)
def test_a_call_that_does_not_fit_the_function_is_refused_at_once(
    func: Any, args: Any, kwargs: Any, reason: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Signature(func).dump(args, kwargs)
    assert reason in str(caught.value)


@pytest.mark.parametrize(("func", "args", "kwargs", "reason"), MISFITS)
def test_stored_arguments_that_no_longer_fit_are_told_apart(
    func: Any, args: Any, kwargs: Any, reason: str
) -> None:
    with pytest.raises(ArgumentsDoNotBind) as caught:
        Signature(func).load(list(args), kwargs)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("func", "args", "kwargs"),
    [
        (send_welcome, (1,), {}),
        (send_welcome, (), {"user_id": 1}),
        (send_welcome, (1, "a"), {"urgent": True}),
        (send_welcome, (), {"text": "a", "user_id": 1, "urgent": False}),
        (takes_anything, (1,), {}),
    ],
)
def test_a_call_that_fits_goes_through_as_it_is(func: Any, args: Any, kwargs: Any) -> None:
    signature = Signature(func)
    assert signature.dump(args, kwargs) == (list(args), kwargs)
    assert signature.load(list(args), kwargs) == (list(args), kwargs)


shapes = st.lists(st.sampled_from("abcd"), unique=True, max_size=4)


@settings(deadline=None)
@given(count=st.integers(0, 4), names=shapes, func=st.sampled_from([0, 1, 2, 3, 4]))
def test_binding_agrees_with_python(count: int, names: list[str], func: int) -> None:
    functions: list[Callable[..., Any]] = [
        lambda a, b=1: None,
        lambda a, /, b, *, c, d=1: None,
        lambda a=1, *rest, b: None,
        lambda a, /, **more: None,
        lambda *rest, **more: None,
    ]
    args, kwargs = tuple(range(count)), dict.fromkeys(names, 0)
    try:
        functions[func](*args, **kwargs)
    except TypeError:
        with pytest.raises(InvalidArgument):
            Signature(functions[func]).dump(args, kwargs)
        with pytest.raises(ArgumentsDoNotBind):
            Signature(functions[func]).load(list(args), kwargs)
    else:
        assert Signature(functions[func]).dump(args, kwargs) == (list(args), kwargs)


def test_the_annotation_of_variadic_parameters_holds_for_each() -> None:
    signature = Signature(takes_anything)
    args, kwargs = signature.dump((1, date.min, date.max), {"first": NUMBER, "b": NUMBER})
    assert args == [1, "0001-01-01", "9999-12-31"]
    assert signature.load(args, kwargs) == (
        [1, date.min, date.max],
        {"first": NUMBER, "b": NUMBER},
    )
    assert "argument 'rest'[1] does not fit date" in refused(takes_anything, 1, date.min, 5)
    assert "argument 'key' does not fit UUID" in refused(takes_anything, 1, key=5)


def test_names_for_variadic_keywords_are_made_plain() -> None:
    signature = Signature(takes_anything)
    _, kwargs = signature.dump((1,), {mark_safe("a"): NUMBER})
    assert [type(name) for name in kwargs] == [str]
    with pytest.raises(InvalidArgument, match="lone surrogate"):
        signature.dump((1,), {"\ud800": NUMBER})


def with_context(context: Any, user_id: int, **more: Any) -> None:
    pass


def test_the_context_is_not_an_argument() -> None:
    signature = Signature(with_context, takes_context=True)
    assert signature.dump((1,), {}) == ([1], {})
    with pytest.raises(InvalidArgument, match="lacks the argument 'user_id'"):
        signature.dump((), {})
    with pytest.raises(InvalidArgument, match="was given the argument 'context' twice"):
        signature.dump((1,), {"context": 2})


def test_typed_arguments_that_no_longer_convert_do_not_bind() -> None:
    def func(when: datetime) -> None: ...

    func.__annotations__ = {"when": datetime}
    with pytest.raises(ArgumentsDoNotBind, match=r"func\(\): argument 'when' does not fit"):
        Signature(func).load(["a user id"], {})


# --- return values --------------------------------------------------------------------------------


def returning(annotation: Any) -> Signature:
    def export():  # type: ignore[no-untyped-def]
        pass

    export.__annotations__ = {"return": annotation}
    export.__qualname__ = "export"
    return Signature(export)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(datetime, MOMENT), (Address, Address("a", date.min)), (int, 5), (Any, [1]), (set[int], {1})],
)
def test_a_return_value_comes_back_as_annotated(annotation: Any, value: Any) -> None:
    signature = returning(annotation)
    assert signature.load_value(signature.dump_value(value)) == value


def test_none_is_null_whatever_the_annotation() -> None:
    assert returning(datetime).dump_value(None) == b"null"
    assert returning(datetime).load_value(b"null") is None


def test_a_plain_value_that_breaks_the_return_annotation_is_kept() -> None:
    signature = returning(datetime)
    assert signature.load_value(signature.dump_value([1])) == [1]


def test_a_return_value_that_cannot_travel_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Signature(takes_one).dump_value({"at": MOMENT})
    assert str(caught.value) == (
        "takes_one(): return value['at'] is a datetime, and the function has no return annotation "
        "that would bring it back: annotate it, e.g. -> dict[str, datetime]"
    )
    with pytest.raises(InvalidArgument, match="return value"):
        returning(datetime).dump_value(math.nan)


# --- envelopes and failures -----------------------------------------------------------------------

GARBAGE = [
    b"",
    b"\xff\xfe",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'["a.b"]',
    b"[1,1]",
    b'["a.b","now"]',
    b'["a.b",1,{}]',
    b'["a.b",1,[],[]]',
    b'["a.b",-1]',
    b'["a.b",1,[],{},{},99999999999999999999]',
    b'["",1]',
    b'["a.b",1,[' + b"9" * 5_000 + b"]]",
    b'["a.b",1,[1e999]]',
    b'["a.b",1,["\\ud800"]]',
    b'["a.b",1,' + b"[" * 100_000,
    b'["a.b",1] trailing',
    b'["\xff",1]',
]


@pytest.mark.parametrize("raw", GARBAGE, ids=lambda raw: repr(raw[:30]))
def test_garbage_is_a_malformed_job(raw: bytes) -> None:
    with pytest.raises(MalformedJob) as caught:
        codec.decode_envelope(raw)
    assert 0 < len(str(caught.value)) < 200


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_do_anything_but_decode_or_be_refused(raw: bytes) -> None:
    for read in (codec.decode, codec.decode_envelope):
        with suppress(MalformedJob):
            read(raw)
    assert isinstance(codec.decode_failures(raw), list)


@pytest.mark.parametrize("raw", [b"", b"{", b"9" * 5_000, b"[" * 100_000, b'"\\ud800"', b"\xff"])
def test_what_is_no_json_does_not_decode(raw: bytes) -> None:
    with pytest.raises(MalformedJob, match="not JSON"):
        codec.decode(raw)


def test_an_envelope_comes_back() -> None:
    envelope = Envelope(t="a.b", e=1, a=[1, "é"], k={"x": None}, o={"timeout": 5}, r=2, c={"y": 1})
    assert codec.decode_envelope(codec.encode_envelope(envelope, 1_000)) == envelope


def test_fields_of_another_release_are_skipped_and_missing_ones_have_defaults() -> None:
    assert codec.decode_envelope(b'["a.b",1,[],{},{},0,"",{},"new"]') == Envelope(t="a.b", e=1)


def test_a_large_envelope_is_refused_with_its_size() -> None:
    envelope = Envelope(t="shop.send", e=1, a=["x" * 2_000])
    size = len(codec.encode_envelope(envelope, 1 << 20))
    assert codec.encode_envelope(envelope, size)
    with pytest.raises(PayloadTooLarge) as caught:
        codec.encode_envelope(envelope, size - 1)
    for part in ("shop.send", f"{size:,}", f"{size - 1:,}", "MAX_PAYLOAD"):
        assert part in str(caught.value)


def test_failures_are_lines_that_can_be_joined() -> None:
    first, second = Failure(c="a.B", m="one\ntwo", n=1), Failure(c="a.C", b="trace")
    raw = codec.encode_failures([first, second])
    assert raw == codec.encode_failure(first) + b"\n" + codec.encode_failure(second)
    assert codec.decode_failures(raw) == [first, second]


def test_failures_with_unspeakable_text_are_kept_readable() -> None:
    failure = Failure(c="OSError", m="no file 'a\udcff'", b=mark_safe("trace"))
    (back,) = codec.decode_failures(codec.encode_failures([failure]))
    assert (back.m, back.b) == ("no file 'a\\udcff'", "trace")


@pytest.mark.parametrize("raw", [None, b"", b"garbage", b'[{"c":1}]', b"\xff", b"[" * 100_000])
def test_garbage_holds_no_failures(raw: bytes | None) -> None:
    assert codec.decode_failures(raw) == []


def test_a_line_that_was_cut_does_not_take_the_others_with_it() -> None:
    failure = Failure(c="a.B")
    assert codec.decode_failures(b'{"c":"cut\n' + codec.encode_failure(failure)) == [failure]


# -- as people see it ------------------------------------------------------------------------------


def test_a_signature_reads_as_the_code_has_it() -> None:
    def count(context: Any, warehouse: str, *more: int, every: int = 1, **rest: Any) -> None: ...

    said = str(Signature(count, takes_context=True))

    assert said.endswith("count(warehouse: str, *more: int, every: int = 1, **rest: Any)")


def test_a_signature_hides_what_is_sensitive() -> None:
    def log_in(user, code="hunter2") -> None: ...  # type: ignore[no-untyped-def]

    assert str(Signature(log_in, sensitive=["code"])).endswith(f"(user, code = {HIDDEN})")
