"""What generated trips are like, as data: tariffs, zones, hours, distances, habits.

Zones, hours, distances, paces and passengers were counted in real months: yellow 2019-01 to 03, green 2020-03 and
2022-03, fhv 2019-06, fhvhv 2020-04; what else is a share is a round number of the real one's size. Money is in cents,
distances in hundredths of a mile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nyctaxi_etl.core.partition import Color, Month

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST = Month(2009, 1)


class Tariff(NamedTuple):
    """What a yellow trip costs since a month, in cents (None: not charged and null), and how often a card pays.

    A ``unit`` is a fifth of a mile or a minute of standing. ``night`` and ``rush`` are extras, ``jfk`` the flat fare.
    """

    since: Month
    drop: int
    unit: int
    jfk: int
    night: int
    rush: int
    mta: int
    improvement: int | None
    congestion: int | None
    airport: int | None
    cbd: int | None
    toll: int
    card: float


# The fares of their time, by the first whole month: those of 2022-12-19 are in the row of 2023-01.
TARIFFS = (
    Tariff(_FIRST, 250, 40, 4500, 50, 100, 0, None, None, None, None, 415, 0.26),
    Tariff(Month(2010, 1), 250, 40, 4500, 50, 100, 50, None, None, None, None, 457, 0.42),
    Tariff(Month(2012, 9), 250, 50, 5200, 50, 100, 50, None, None, None, None, 480, 0.54),
    Tariff(Month(2015, 1), 250, 50, 5200, 50, 100, 50, 30, None, None, None, 554, 0.62),
    Tariff(Month(2017, 4), 250, 50, 5200, 50, 100, 50, 30, None, None, None, 576, 0.68),
    Tariff(Month(2019, 2), 250, 50, 5200, 50, 100, 50, 30, 250, None, None, 576, 0.73),
    Tariff(Month(2019, 4), 250, 50, 5200, 50, 100, 50, 30, 250, None, None, 612, 0.73),
    Tariff(Month(2021, 5), 250, 50, 5200, 50, 100, 50, 30, 250, 0, None, 655, 0.76),
    Tariff(Month(2022, 4), 250, 50, 5200, 50, 100, 50, 30, 250, 125, None, 655, 0.78),
    Tariff(Month(2023, 1), 300, 70, 7000, 100, 250, 50, 100, 250, 175, None, 655, 0.8),
    Tariff(Month(2023, 8), 300, 70, 7000, 100, 250, 50, 100, 250, 175, None, 694, 0.82),
    Tariff(Month(2025, 1), 300, 70, 7000, 100, 250, 50, 100, 250, 175, 75, 694, 0.84),
)

# Of 10,000 pickups, by zone. What is left goes to the other zones, less and less from the first to the last.
_FHVHV_PICKUPS = (
    "61:247 76:196 42:186 89:148 74:145 35:143 225:130 39:130 244:123 213:118 188:117 78:115 17:112 168:112 69:110 "
    "75:110 247:109 37:104 18:102 169:101 72:100 177:93 41:90 167:90 7:89 159:88 235:87 71:86 91:83 254:82 243:81 "
    "174:80 242:79 97:79 140:75 116:74 130:74 82:73 241:73 51:72 132:70 138:65 161:60 230:60 79:60 234:55 48:50"
)
PICKUPS: Mapping[Color, str] = {
    Color.YELLOW: (
        "237:420 161:405 236:394 162:374 230:355 186:346 170:316 234:315 48:305 142:284 79:275 138:272 239:264 "
        "163:263 132:253 141:242 68:242 164:235 107:233 100:205 249:198 263:194 238:191 140:189 229:180 90:177 "
        "231:165 113:153 246:142 233:135 114:134 43:130 137:128 264:125 262:123 148:119 143:112 144:96 158:94 50:93 "
        "151:90 13:82 75:79 211:78 166:65 87:64 261:49 125:49 74:40 88:38 41:37 24:29 42:21 45:20 209:20 224:19 "
        "232:18 7:17 4:17 226:15 265:5"
    ),
    Color.GREEN: (
        "74:992 75:858 41:655 166:433 42:419 82:347 7:327 95:317 244:304 97:303 65:246 129:204 33:196 130:182 "
        "116:160 43:158 25:158 260:146 181:129 66:127 223:104 134:92 61:89 52:84 152:82 196:82 92:76 49:67 255:65 "
        "226:59 17:57 243:52 179:50 145:50 83:49 193:48 76:48 188:46 69:46 159:45 55:45 24:43 225:42 210:42 247:41 "
        "168:40 242:38 89:35"
    ),
    Color.FHV: "264:2500 265:600 " + _FHVHV_PICKUPS,
    Color.FHVHV: _FHVHV_PICKUPS,
}
LAST_ZONE = 263
OUTSIDE_ZONE = 265
EWR, JFK = 1, 132
AIRPORTS = "132 138"
# Where the congestion surcharge is due (Manhattan south of 96th Street), and the fee of 2025 (south of 60th).
CONGESTED = (
    "4 12 13 24 43 45 48 50 68 79 87 88 90 100 107 113 114 125 137 140 141 142 143 144 148 151 158 161 162 163 164 "
    "170 186 209 211 224 229 230 231 232 233 234 236 237 238 239 246 249 261 262 263"
)
CBD = (
    "4 12 13 45 48 50 68 79 87 88 90 100 107 113 114 125 137 144 148 158 161 162 163 164 170 186 209 211 224 229 "
    "230 231 232 233 234 246 249 261"
)
# Thousandths of a degree of the zones that matter; other zones lie in a box east of these.
CENTRES: Mapping[int, tuple[int, int]] = {
    13: (-74016, 40712), 43: (-73966, 40782), 48: (-73990, 40762), 50: (-73995, 40766), 68: (-74000, 40748),
    74: (-73938, 40801), 75: (-73946, 40790), 79: (-73986, 40728), 90: (-73997, 40742), 100: (-73989, 40754),
    107: (-73984, 40737), 113: (-73994, 40732), 114: (-73997, 40728), 132: (-73786, 40646), 137: (-73976, 40740),
    138: (-73873, 40774), 140: (-73955, 40766), 141: (-73960, 40767), 142: (-73982, 40772), 143: (-73988, 40776),
    144: (-73996, 40720), 148: (-73990, 40719), 151: (-73968, 40798), 158: (-74009, 40735), 161: (-73978, 40758),
    162: (-73972, 40757), 163: (-73978, 40765), 164: (-73985, 40749), 166: (-73962, 40809), 170: (-73978, 40748),
    186: (-73993, 40748), 211: (-74002, 40724), 229: (-73965, 40757), 230: (-73984, 40760), 231: (-74008, 40718),
    233: (-73970, 40750), 234: (-73990, 40740), 236: (-73957, 40780), 237: (-73966, 40768), 238: (-73973, 40791),
    239: (-73979, 40784), 246: (-74004, 40753), 249: (-74003, 40735), 262: (-73946, 40776), 263: (-73951, 40779),
}  # fmt: skip
OUTER_BOX = ((-73990, 190), (40600, 230))
NEAR = 4

# Trips by hour of a working day and of a weekend day, average 100, and by day of the week from Monday.
HOURS = (
    (49, 31, 19, 14, 13, 26, 64, 112, 133, 130, 121, 117, 127, 121, 134, 133, 129, 149, 169, 161, 142, 145, 134, 96),
    (125, 94, 70, 63, 36, 17, 24, 36, 57, 88, 102, 123, 134, 129, 130, 134, 133, 137, 147, 135, 105, 109, 108, 94),
)
DAYS = (120, 143, 148, 157, 158, 150, 124)
SATURDAY = 5
NIGHT = (20, 6)
RUSH = (16, 20)

# Sixteenths of the trips by distance, in town and where one end is an airport.
TOWN_MILES = (5, 50, 66, 80, 90, 103, 119, 130, 150, 167, 190, 217, 252, 308, 390, 580, 2600)
AIRPORT_MILES = (180, 500, 752, 843, 900, 950, 1000, 1060, 1142, 1241, 1483, 1670, 1741, 1818, 1894, 2046, 4200)
# Seconds for a mile by the hour, what distance and luck make of it in per cent, the latter by sixteenths again.
PACE = (
    257, 238, 240, 223, 217, 222, 266, 347, 419, 445, 459, 460,
    451, 422, 418, 425, 402, 414, 403, 369, 330, 316, 299, 282,
)  # fmt: skip
FASTEST = 62
PACE_EDGES = (50, 100, 200, 400, 800, 1600)
PACE_BY_DISTANCE = (115, 109, 100, 85, 60, 43, 33)
LUCK = (40, 59, 68, 75, 81, 86, 91, 95, 100, 105, 110, 117, 124, 133, 146, 169, 400)

# Shares of all trips.
SAME_ZONE = 0.06
STORED = 0.005
AGREED: Mapping[Color, float] = {Color.YELLOW: 0.006, Color.GREEN: 0.026}
TOLL_TO_AIRPORT, TOLL_IN_TOWN = 0.4, 0.008
ROUND_TIPS = 0.15
OWN_BASE = 0.67
SHARED_FHV, SHARED_FHVHV, MATCHED = 0.3, 0.1, 0.6
TIPPED_FHVHV = 0.15
WHEELCHAIR, WHEELCHAIR_CAME = 0.002, 0.03
# Value: share of 10,000.
PASSENGERS = {1: 7200, 2: 1500, 5: 430, 3: 410, 6: 260, 4: 200}
GREEN_CONGESTION = 275
MOST_FARE = 50_000
# A fare that driver and passenger agree on: so many steps at least, and up to so many more.
AGREED_STEP, AGREED_STEPS = 500, (2, 20)
TIP_PERCENTS = {20: 5400, 25: 1000, 15: 700, 30: 500, 0: 500, 10: 300, 12: 200, 18: 300, 22: 300}


class Vendors(NamedTuple):
    """Whose meters the taxis of a colour have since a month: share of 10,000 by vendor."""

    since: Month
    color: Color
    shares: Mapping[int, int]


VENDORS = (
    Vendors(_FIRST, Color.YELLOW, {1: 4500, 2: 4500, 3: 1000}),
    Vendors(Month(2011, 1), Color.YELLOW, {1: 4900, 2: 5100}),
    Vendors(Month(2017, 1), Color.YELLOW, {1: 3800, 2: 6200}),
    Vendors(Month(2022, 1), Color.YELLOW, {1: 2500, 2: 7480, 6: 20}),
    Vendors(Month(2025, 1), Color.YELLOW, {1: 2000, 2: 7940, 6: 20, 7: 40}),
    Vendors(_FIRST, Color.GREEN, {1: 1500, 2: 8500}),
    Vendors(Month(2022, 1), Color.GREEN, {1: 1300, 2: 8695, 6: 5}),
)

# Fleets of fhvhv by licence: share of 10,000 and bases. Juno left in 2019-11, Via in 2021-12.
FLEETS: Mapping[str, tuple[int, str]] = {
    "HV0003": (
        7100,
        "B02764 B02872 B02875 B02765 B02869 B02887 B02871 B02864 B02866 B02878 B02682 B02617 B02867 B02879 B02877",
    ),
    "HV0005": (2600, "B02510"),
    "HV0004": (200, "B02800"),
    "HV0002": (100, "B02914"),
}
FLEETS_UNTIL = {"HV0002": Month(2019, 11), "HV0004": Month(2021, 12)}
# Of fhv, the busiest first.
BASES = (
    "B00256 B00856 B01145 B00900 B01268 B00310 B02437 B01061 B03016 B00647 B00937 B01667 B01239 B01338 B01536 "
    "B01626 B03060 B01984 B01437 B00887 B02509 B00821 B02735 B02715 B01051 B02550 B01800 B02899 B01231 B00860 "
    "B02849 B00706 B01730 B01285 B01717 B02905 B00254 B01777 B00248 B01711 B00001 B00008 B00009 B00013"
)
BASE_WIDTH = 15
# Apps whose trips yellow and green taxis serve.
APPS = ("A", "CC", "EH0004", "EH0010", "HV0003", "HV0005")

# fhvhv's fares: cents to start, for a mile, for a minute; then what is added, per 10,000 or as it is.
FHVHV_FARE = (250, 170, 40)
FHVHV_FUND, FHVHV_TAX, FHVHV_DRIVER = 275, 888, 7700
FHVHV_CONGESTION, FHVHV_AIRPORT, FHVHV_CBD = 275, 250, 150
FHVHV_AIRPORT_SINCE, FHVHV_CBD_SINCE = Month(2020, 11), Month(2025, 1)
