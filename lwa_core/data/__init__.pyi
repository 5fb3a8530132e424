from .clock import (
    NoTimeError as NoTimeError,
    check_calendar as check_calendar,
    parse_times as parse_times,
)
from .coding import (
    IDS as IDS,
    gather_blocks as gather_blocks,
    narrow as narrow,
)
from .columns import usual_name as usual_name
from .dataset import (
    Catalogue as Catalogue,
    Examples as Examples,
    PreparedData as PreparedData,
    Step as Step,
)
from .engine import polars_faults as polars_faults
from .frames import source_from_frame as source_from_frame
from .ids import spell_id as spell_id
from .moments import UNITS as UNITS
from .prepare import prepare as prepare
from .saving import (
    load_prepared as load_prepared,
    save_prepared as save_prepared,
)
from .source import Source as Source
from .timed import (
    TimedHistory as TimedHistory,
    UsesTimes as UsesTimes,
)
