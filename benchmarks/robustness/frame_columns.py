"""Columns of every type that polars, pandas, Arrow, numpy and torch have, beside the plain values that they hold."""

import datetime as dt
import uuid
from decimal import Decimal

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

START = 1_400_000_000
MOMENT = dt.datetime(2014, 5, 13, 16, 53, 20)
MINUTES = [dt.timedelta(minutes=n) for n in range(6)]
MOMENTS = [MOMENT + step for step in MINUTES]
DAYS = [dt.date(2014, 5, day) for day in range(11, 17)]
NAN, INF = float("nan"), float("inf")


@attrs.frozen
class Kind:
    """A type of column: plain values to draw from, usual ones first, and the type by each library's name for it."""

    values: tuple
    polars: object = None
    pandas: object = None
    arrow: object = None
    numpy: object = None


def whole(bits, signed=True):
    most = 2 ** (bits - signed) - 1
    values = (1, 2, 3, 4, 5, 0, None, most, *((-1, -most - 1) if signed else ()))
    name = f"{'' if signed else 'u'}int{bits}"
    lower = name if bits <= 64 else None
    upper = name.title().replace("Uint", "UInt")
    return Kind(values, getattr(pl, upper), upper if lower else None, lower and getattr(pa, lower)(), lower)


def floating(bits):
    more = {16: (2.0**11,), 32: (2.0**24,), 64: (2.0**53, 2.0**53 + 2, 1e22)}[bits]
    values = (1.0, 2.0, 3.0, 4.0, 5.0, 0.0, -0.0, None, NAN, INF, -INF, 1.5, *more)
    kind = f"float{bits}"
    return Kind(values, getattr(pl, f"Float{bits}"), kind, getattr(pa, kind)(), kind)


def since(unit):
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    values = (*((START + 60 * n) * scale for n in range(6)), None, START * scale + 1, 0, -scale, START * 1000)
    return Kind(values, pl.Int64, "Int64", pa.int64(), "int64")


def moments(unit, zone=None):
    finer = {"s": 1_000_000, "ms": 2000, "us": 1500, "ns": 1500}[unit]
    odd = (None, MOMENT + dt.timedelta(microseconds=finer), dt.datetime(1970, 1, 1))
    far = () if unit == "ns" else (dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23))  # where numpy would wrap round
    values = tuple(None if v is None else Moment(v) for v in (*MOMENTS, *odd, *far))
    there = pl.Datetime(unit, zone) if unit != "s" and not (zone or "").startswith("+") else None
    numpy = f"datetime64[{unit}]" if zone is None else None
    pandas = f"datetime64[{unit}{'' if zone is None else ', ' + zone}]"
    return Kind(values, there, pandas, pa.timestamp(unit, zone), numpy)


@attrs.frozen
class Moment:
    """A date and time of UTC."""

    value: dt.datetime


def text(*values, **more):
    return Kind(values, **{"polars": pl.String, "pandas": "str", "arrow": pa.string(), "numpy": object, **more})


IDS = ("1", "2", "3", "u4", "é", "07", "", " 1", "2\u00a0", None)
ODD = ("\x00", "a\x00b", "\x1b[31m", "\r", "\n", "\u2028", "\ufeff1", "𝔘", "x" * 300, "NaN", "null", "1.0", "True")
NUMBER_TEXTS = tuple(str(START + 60 * n) for n in range(6))
ISO = tuple(str(m) for m in MOMENTS)
PARTS = ("train", "validation", "test", "train", "train", "x")
MIXED = (1, "2", 3.0, Decimal("4.00"), np.int8(5), np.float32(2), uuid.UUID(int=7), None, NAN, pd.NA, pd.NaT, "é")
STRANGE = (True, 1.5, INF, b"1", [1], {"a": 1}, (1,), dt.date(2014, 5, 1), MOMENT, "\ud800", 10**40, 2.0**60, 1j)
STRANGE += (object, np.bool_(1), np.datetime64("2014-05-01"), np.array([1]), float, ..., Decimal("NaN"), set())

KINDS = {
    **{f"int{bits}": whole(bits) for bits in (8, 16, 32, 64, 128)},
    **{f"uint{bits}": whole(bits, signed=False) for bits in (8, 16, 32, 64, 128)},
    **{f"float{bits}": floating(bits) for bits in (16, 32, 64)},
    **{f"since {unit}": since(unit) for unit in ("s", "ms", "us", "ns")},
    **{f"moments {unit}": moments(unit) for unit in ("s", "ms", "us", "ns")},
    **{f"moments {unit} {z}": moments(unit, z) for unit in ("ms", "us", "ns") for z in ("UTC", "Europe/Berlin")},
    "moments us +02:00": moments("us", "+02:00"),
    "decimal": Kind(
        (*map(Decimal, (1, 2, 3, 4, 5, 0)), None, Decimal("1.50"), Decimal(10**17)),
        pl.Decimal(20, 2),
        None,
        pa.decimal128(20, 2),
        object,
    ),
    "wide decimal": Kind(
        (*map(Decimal, (1, 2, 3)), Decimal(2**70), Decimal(2**63)), pl.Decimal(38, 0), None, pa.decimal128(38), object
    ),
    "boolean": Kind((True, False, None), pl.Boolean, "boolean", pa.bool_(), "bool"),
    "text": text(*IDS),
    "odd text": text(*IDS[:5], *ODD),
    "surrogates": Kind(("1", "2", "3", "\ud800", "a\udcff"), None, object, None, object),
    "categories": text(*IDS, polars=pl.Categorical, pandas="category", arrow=pa.dictionary(pa.int32(), pa.string())),
    "enum": text(*IDS[:6], None, polars=pl.Enum(IDS[:6]), pandas=pd.CategoricalDtype(IDS[:6]), arrow=pa.large_string()),
    "string views": text(*IDS, pandas="string", arrow=pa.string_view()),
    "arrow text": text(*IDS, pandas=pd.ArrowDtype(pa.string())),
    "whole categories": Kind((1, 2, 3, None), None, "category", pa.dictionary(pa.int8(), pa.int64()), object),
    "float categories": Kind((1.0, 2.0, 3.0, None, 1.5), None, "category", pa.dictionary(pa.int8(), pa.float64())),
    "true categories": Kind((True, False), None, "category"),
    "day categories": Kind(tuple(DAYS), None, "category"),
    "bytes": Kind((b"1", b"2", b"\xff", None), pl.Binary, object, pa.binary(), "S"),
    "days": Kind((*DAYS, None, dt.date(1, 1, 1), dt.date(9999, 12, 31)), pl.Date, object, pa.date32(), "datetime64[D]"),
    "days in milliseconds": Kind((*DAYS, None), pl.Date, object, pa.date64(), "datetime64[h]"),
    "hours": Kind((dt.time(12), dt.time(13), None), pl.Time, object, pa.time64("us"), object),
    "durations": Kind((*MINUTES, None), pl.Duration("us"), "timedelta64[us]", pa.duration("us"), "timedelta64[us]"),
    "number texts": text(*NUMBER_TEXTS, None, "", " 1400000000 ", "1.4e9", "nan", "inf", "x", "1400000000.5"),
    "iso texts": text(*ISO, None, "", "2014-05-13", "0000-01-01 00:00:00", "9999-12-31 23:59:59", "x"),
    "zoned texts": text(*(f"{one}Z".replace(" ", "T") for one in ISO), "2014-05-13T16:53:20+02:00", None),
    "german texts": text(*(day.strftime("%d.%m.%Y") for day in DAYS), "1.5.2014", None, "31.02.2014"),
    "american texts": text(*(day.strftime("%m/%d/%Y") for day in DAYS[:3]), "05/01/2014", None),
    "parts": text(*PARTS),
    "lists": Kind(([1, 2], [2, 3, 4], [5], [1, None], [], None), pl.List(pl.Int64), object, pa.list_(pa.int64()), None),
    "text lists": Kind((["1", "2"], ["é"], [""], [None]), pl.List(pl.String), object, pa.list_(pa.string())),
    "nested lists": Kind(([[1], [2]], [[3]]), pl.List(pl.List(pl.Int64)), object, pa.list_(pa.list_(pa.int64()))),
    "pairs": Kind(([1, 2], [3, 4]), pl.Array(pl.Int64, 2), object, pa.list_(pa.int64(), 2), "int64"),
    "structs": Kind(({"a": 1}, {"a": None}, None), pl.Struct({"a": pl.Int64}), object, pa.struct({"a": pa.int64()})),
    "nothing": Kind((None,), pl.Null, object, pa.null(), object),
    "mixed": Kind(MIXED, pl.Object, object, None, object),
    "strange": Kind((*MIXED[:4], *STRANGE), pl.Object, object, None, object),
    "complex": Kind((1 + 0j, 2j, 1.5 + 1j), None, "complex128", None, "complex128"),
    "periods": Kind(tuple(pd.Period(str(day)) for day in DAYS), None, "period[D]"),
    "sparse": Kind((1, 2, 3, 0), None, pd.SparseDtype("int64", 0)),
    "long texts": text("a" * 5000, "b", "1", "2", "3"),
}
IDS_KINDS = ["int64"] * 6 + ["text"] * 6 + [name for name in KINDS if name.split()[-1] in ("categories", "mixed")]
IDS_KINDS += [name for name in KINDS if "int" in name or "float" in name or name in ("decimal", "enum", "odd text")]
TIME_KINDS = [name for name in KINDS if name.split()[0] in ("since", "moments", "days")] * 2
TIME_KINDS += [
    "number texts",
    "iso texts",
    "zoned texts",
    "german texts",
    "american texts",
    "float64",
    "int64",
    "uint64",
]
RATING_KINDS = ["int64", "float64", "float32", "uint8", "int8", "decimal", "mixed", "boolean", "number texts"]


def bare(values):
    """Moments as Python has them, without a zone."""
    return [one.value if isinstance(one, Moment) else one for one in values]


def of_polars(name, kind, values):
    zone = getattr(kind.polars, "time_zone", None)
    if zone is None:
        return pl.Series(name, bare(values), dtype=kind.polars)
    plain = pl.Series(name, bare(values), dtype=pl.Datetime(kind.polars.time_unit))
    return plain.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


def of_pandas(_, kind, values):
    if isinstance(kind.pandas, str) and kind.pandas.startswith("datetime64["):
        unit, _, zone = kind.pandas[len("datetime64[") : -1].partition(", ")
        made = pd.Series(np.array(bare(values), dtype=f"datetime64[{unit}]"))
        return made.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else made
    missing = kind.pandas in ("float16", "float32", "float64")
    return pd.Series([NAN if one is None and missing else one for one in bare(values)], dtype=kind.pandas)


def of_arrow(_, kind, values):
    if isinstance(kind.arrow, pa.DictionaryType):
        return pa.array(values, kind.arrow.value_type).dictionary_encode()
    if isinstance(kind.arrow, pa.TimestampType) and kind.arrow.tz is not None:
        values = [None if one is None else Moment(one.value.replace(tzinfo=dt.timezone.utc)) for one in values]
    return pa.array(bare(values), kind.arrow)


def of_numpy(_, kind, values):
    if kind.numpy is object:
        made = np.empty(len(values), dtype=object)
        made[:] = bare(values)
        return made
    return np.array([NAN if one is None and "float" in kind.numpy else one for one in bare(values)], dtype=kind.numpy)


def of_masked(name, kind, values):
    gaps = [one is None for one in values]
    if any(isinstance(one, list) for one in values):
        raise TypeError("masks are of values")
    return np.ma.array(of_numpy(name, kind, [kind.values[0] if one is None else one for one in values]), mask=gaps)


def of_torch(_, __, values):
    import torch

    return torch.tensor(values, dtype=torch.float64 if any(isinstance(one, float) for one in values) else None)


FORMS = {
    "list": lambda _, __, values: bare(values),
    "tuple": lambda _, __, values: tuple(bare(values)),
    "generator": lambda _, __, values: (one for one in bare(values)),
    "polars": of_polars,
    "pandas": of_pandas,
    "index": lambda *asked: pd.Index(of_pandas(*asked)),
    "arrow": of_arrow,
    "chunks": lambda name, kind, values: pa.chunked_array([of_arrow(name, kind, v) for v in (values[:2], values[2:])]),
    "numpy": of_numpy,
    "masked": of_masked,
    "torch": of_torch,
}
"""How one column of a dict of columns may be held."""

NO_COLUMNS = (
    *(None, 5, "123", b"123", {"a": 1}, {1, 2}, object(), np.array(1), np.array([[1, 2], [3, 4]]), range(3)),
    *(np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), pl.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}), len),
)
"""What is no column, in a dict of columns."""
