"""Liquid for texts: compiled and checked when saved, rendered within limits, never HTML, never the clock.

Shopify's filters that make sense in a text are there. `money` and `date` read `currency`, `locale` (BCP 47),
`timezone` (IANA) and `now` from the top of the context. A template cannot reach attributes of Python objects: only
items of mappings and sequences. Render errors name the line and the kind, never a value: values are personal.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError, dates, numbers
from liquid import BoundTemplate, Environment, RenderContext
from liquid.exceptions import LiquidError, OutputStreamLimitError, ResourceLimitError
from liquid.filter import with_context
from liquid.undefined import is_undefined

SOURCE_LIMIT = 5_000
"""Characters of a template's source, and of any value a filter makes: ten parts of text are at most 1,530."""

_HTML_OR_FILES = ("include", "render", "tablerow")
_PLAIN = str.maketrans({"\u00a0": " ", "\u202f": " ", "￥": "¥"})  # GSM-7 has the right-hand ones
_DIRECTIVE = re.compile(r"%(-?)([A-Za-z%])")
_LINE_BREAKS = re.compile(r"\r\n?")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class TemplateError(ValueError):
    """A template that cannot be used. `line` counts from 1; 0 when the problem has no place."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.line = line
        self.problem = problem


class TemplateLimitError(TemplateError):
    """The template, or what it makes of its data, exceeds a limit: length, loops, nesting."""


class RenderError(TemplateError):
    """The data do not fit the template. The message holds no value of the data."""


class _Environment(Environment):
    output_stream_limit = 4 * SOURCE_LIMIT  # bytes
    loop_iteration_limit = 1_000
    local_namespace_limit = 100_000  # bytes
    context_depth_limit = 10
    block_nesting_limit = 10


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template. `variables` are the paths it reads (`customer.first_name`), sorted, without its own."""

    source: str
    variables: tuple[str, ...]
    filters: tuple[str, ...]
    _bound: BoundTemplate

    def render(self, context: Mapping[str, object]) -> str:
        """The text: no control characters but line feeds, no lone surrogates, nothing blank at its ends.

        What the context lacks is empty. Raises `TemplateLimitError` and `RenderError`.
        """
        try:
            return _clean(self._write(context))
        except ResourceLimitError as problem:
            raise TemplateLimitError(_line_of(problem, self.source), _limit(problem)) from None
        except LiquidError as problem:
            kind = type(problem).__name__.removesuffix("Error")
            raise RenderError(_line_of(problem, self.source), f"cannot be rendered with this data ({kind})") from None
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as problem:
            raise RenderError(0, f"cannot be rendered with this data ({type(problem).__name__})") from None

    def _write(self, context: Mapping[str, object]) -> str:
        try:
            return self._bound.render(context)
        except UnicodeEncodeError:  # the output buffer counts bytes and stops at a lone surrogate
            return self._bound.render({key: _without_surrogates(value) for key, value in context.items()})


@functools.lru_cache(maxsize=1024)
def compile_template(source: str) -> Template:
    """Parse and check a template. Raises `TemplateError` naming line and problem, for an unknown filter or tag too."""
    if len(source) > SOURCE_LIMIT:
        raise TemplateLimitError(0, f"longer than {SOURCE_LIMIT:,} characters")
    environment = _environment()
    try:
        bound = environment.from_string(str(_without_surrogates(source)))
        analysis = bound.analyze(include_partials=False)
    except ResourceLimitError as problem:
        raise TemplateLimitError(_line_of(problem, source), _limit(problem)) from None
    except LiquidError as problem:
        raise TemplateError(_line_of(problem, source), str(problem.message)) from None
    except (RecursionError, ValueError) as problem:
        raise TemplateError(0, f"cannot be read ({type(problem).__name__})") from None
    for name, places in analysis.filters.items():
        if name not in environment.filters:
            raise TemplateError(_line_at(source, places[0].index), f"unknown filter '{name}'")
    variables = {str(variable) for found in analysis.globals.values() for variable in found}
    return Template(source, tuple(sorted(variables)), tuple(sorted(analysis.filters)), bound)


@functools.lru_cache(maxsize=1)
def _environment() -> Environment:
    # Liquid's own `now` and `today` would read the clock; these stand before them.
    environment = _Environment(autoescape=False, strict_filters=True, globals={"now": None, "today": None})
    for tag in _HTML_OR_FILES:
        del environment.tags[tag]
    own: dict[str, Callable[..., str]] = {
        "money": functools.partial(_money, style="standard"),
        "money_with_currency": functools.partial(_money, style="with_code"),
        "money_without_currency": functools.partial(_money, style="bare"),
        "money_without_trailing_zeros": functools.partial(_money, style="short"),
        "date": _date,
    }
    for name, own_filter in own.items():
        environment.filters[name] = with_context(own_filter)
    for name, shipped in environment.filters.items():
        environment.filters[name] = _limited(shipped)
    return environment


def _limited(of: Callable[..., Any]) -> Callable[..., Any]:
    """The same filter, refusing what it made when that is too long: chains of `replace` grow by powers."""

    @functools.wraps(of)
    def limited(*args: Any, **kwargs: Any) -> Any:
        made = of(*args, **kwargs)
        if isinstance(made, str | list | tuple) and len(made) > SOURCE_LIMIT:
            raise OutputStreamLimitError("output stream limit reached", token=None)
        return made

    return limited


def _limit(problem: ResourceLimitError) -> str:
    return f"limit exceeded ({type(problem).__name__.removesuffix('Error').removesuffix('Limit')})"


def _line_of(problem: LiquidError, source: str) -> int:
    return 0 if problem.token is None else _line_at(source, problem.token.start_index)


def _line_at(source: str, index: int) -> int:
    return source.count("\n", 0, max(index, 0)) + 1


def _without_surrogates(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "ignore").decode("utf-8")
        case Mapping():
            return {key: _without_surrogates(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_surrogates(item) for item in value]
        case _:
            return value


def _clean(text: str) -> str:
    text = _LINE_BREAKS.sub("\n", text).replace("\t", " ")
    if not text.isprintable():
        text = "".join(c for c in text if c == "\n" or (unicodedata.category(c) not in {"Cc", "Cs"} and c not in _BIDI))
    return text.strip()


# --- filters -----------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _locale(tag: str) -> Locale:
    """The locale of a BCP 47 tag, else of its language, else American English."""
    for candidate in (tag, tag.replace("_", "-").split("-")[0], "en-US"):
        try:
            return Locale.parse(candidate.replace("_", "-"), sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en", "US")


def _setting(context: RenderContext, name: str, default: str) -> str:
    value = context.resolve(name, default=default)
    return value if isinstance(value, str) and value else default


def _money(amount: object, currency: object = None, *, context: RenderContext, style: str) -> str:
    """An amount (Decimal, integer or Shopify's string) in the currency named, else in the context's (ISO 4217)."""
    if amount is None or is_undefined(amount) or amount == "":
        return ""
    code = (currency if isinstance(currency, str) and currency else _setting(context, "currency", "USD")).upper()
    locale = _locale(_setting(context, "locale", "en-US"))
    value = _decimal(amount)
    digits = numbers.get_currency_precision(code)
    if style == "bare":
        return numbers.format_decimal(round(value, digits), f"#,##0.{'0' * digits}", locale=locale).translate(_PLAIN)
    whole = style == "short" and value == value.to_integral_value()
    pattern = locale.currency_formats["standard"].pattern.replace(".00", "") if whole else None
    text = numbers.format_currency(value, code, pattern, locale=locale, currency_digits=not whole).translate(_PLAIN)
    return f"{text} {code}" if style == "with_code" and code not in text else text


def _decimal(amount: object) -> Decimal:
    if isinstance(amount, bool) or not isinstance(amount, str | int | float | Decimal):
        raise TypeError
    try:
        value = Decimal(str(amount).strip())
    except InvalidOperation:
        raise ValueError from None
    if not value.is_finite() or value.adjusted() > 15:
        raise ValueError
    return value


def _date(moment: object, pattern: object = "medium", *, context: RenderContext) -> str:
    """A date or ISO 8601 time, on the context's clock and in its language.

    `short`, `medium`, `long` and `full` are the locale's own ways to write a date; else strftime directives. `now` is
    the context's; what is no date is returned as it is, like Shopify does.
    """
    asked = context.resolve("now", default=None) if moment in ("now", "today") else moment
    when = _moment(asked)
    if when is None:
        return "" if moment is None or is_undefined(moment) else str(moment)
    if when.tzinfo is not None:
        when = when.astimezone(_zone(_setting(context, "timezone", "UTC")))
    locale = _locale(_setting(context, "locale", "en-US"))
    if not isinstance(pattern, str) or pattern in {"short", "medium", "long", "full"}:
        named = pattern if isinstance(pattern, str) else "medium"
        return dates.format_date(when, named, locale=locale).translate(_PLAIN)
    return _DIRECTIVE.sub(lambda found: _directive(found, when, locale), pattern)


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  (a day has no zone)
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    return None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


_CLDR_PAIRS = (
    "A=EEEE a=EEE B=MMMM b=MMM h=MMM p=a P=a Y=y y=yy m=MM d=dd e=d H=HH k=H I=hh l=h M=mm S=ss j=DDD z=xx Z=z "
    "F=yyyy-MM-dd T=HH:mm:ss R=HH:mm D=MM/dd/yy"
)
_CLDR = dict(pair.split("=") for pair in _CLDR_PAIRS.split())
"""strftime's letters in the patterns of CLDR, which know the locale's own names of days and months."""


def _directive(found: re.Match[str], when: datetime, locale: Locale) -> str:
    flag, letter = found.groups()
    if letter == "%":
        return "%"
    pattern = _CLDR.get(letter)
    if pattern is None:
        return found[0]
    zone = when.tzinfo
    text = dates.format_datetime(when, pattern, tzinfo=zone, locale=locale).translate(_PLAIN)
    return text.lstrip("0") or "0" if flag and text.isdecimal() else text
