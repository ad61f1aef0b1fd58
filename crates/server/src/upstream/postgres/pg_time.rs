//! Dates and times in Postgres' ISO text form, to and from milliseconds.

const MICROS_PER_DAY: i128 = 86_400_000_000;
const MS_PER_DAY: i64 = 86_400_000;

/// Milliseconds since the epoch of a date or timestamp; ±infinity for the infinite ones.
/// A fraction carries the microseconds.
pub fn epoch_ms(text: &str) -> Option<f64> {
    match text {
        "infinity" => return Some(f64::INFINITY),
        "-infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (date, time) = match text.split_once(' ') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let micros = days(date, before_christ)?
        .checked_mul(MICROS_PER_DAY)?
        .checked_add(match time {
            Some(time) => i128::from(micros_of_day(time)?),
            None => 0,
        })?;
    // Microseconds of dates in use stay below 2^53: the quotient is the nearest double.
    Some(micros as f64 / 1000.0)
}

/// Milliseconds since midnight in UTC of a time with or without an offset, cut to whole ones, within the day.
pub fn ms_of_day(text: &str) -> Option<i64> {
    let micros = micros_of_day(text)?;
    // 24:00:00 is a time of its own where there is no offset.
    let whole_day = MS_PER_DAY * 1000;
    if micros == whole_day && !has_offset(text) {
        return Some(MS_PER_DAY);
    }
    Some(micros.rem_euclid(whole_day) / 1000)
}

fn has_offset(text: &str) -> bool {
    text.contains(['+', '-'])
}

fn days(date: &str, before_christ: bool) -> Option<i128> {
    let mut parts = date.splitn(3, '-');
    let year: i64 = digits(parts.next()?)?;
    let month: i64 = digits(parts.next()?)?;
    let day: i64 = digits(parts.next()?)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    Some(i128::from(days_from_civil(year, month, day)))
}

fn digits(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// `HH:MM:SS[.ffffff][±HH[:MM[:SS]]]` in microseconds, the offset applied.
fn micros_of_day(text: &str) -> Option<i64> {
    let split = text.find(['+', '-']).unwrap_or(text.len());
    let (clock, offset) = text.split_at(split);
    let (whole, fraction) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (clock, ""),
    };
    let micros = seconds(whole)? * 1_000_000 + fraction_micros(fraction)?;
    let offset = match offset.split_at_checked(1) {
        None => 0,
        Some((sign, amount)) => {
            let amount = seconds(amount)?;
            if sign == "-" { -amount } else { amount }
        }
    };
    Some(micros - offset * 1_000_000)
}

fn fraction_micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    if fraction.len() > 6 {
        return None;
    }
    let scale = 10_i64.pow(u32::try_from(6 - fraction.len()).ok()?);
    Some(digits(fraction)? * scale)
}

/// `HH[:MM[:SS]]` in seconds.
fn seconds(text: &str) -> Option<i64> {
    let mut total = 0;
    let mut parts = text.split(':');
    for unit in [3600, 60, 1] {
        if let Some(part) = parts.next() {
            if part.len() > 2 {
                return None;
            }
            total += digits(part)? * unit;
        }
    }
    parts.next().is_none().then_some(total)
}

/// The text of a date, the time of day being dropped.
pub fn date_text(ms: f64) -> Option<String> {
    if let Some(infinite) = infinity(ms) {
        return Some(infinite);
    }
    let (days, _) = split_micros(ms)?;
    let (date, suffix) = civil_text(days);
    Some(format!("{date}{suffix}"))
}

/// The text of a timestamp in UTC, to the microsecond.
pub fn timestamp_text(ms: f64) -> Option<String> {
    if let Some(infinite) = infinity(ms) {
        return Some(infinite);
    }
    let (days, micros) = split_micros(ms)?;
    let (date, suffix) = civil_text(days);
    Some(format!("{date} {}+00{suffix}", clock_text(micros)))
}

/// The text of a time of day in UTC.
pub fn time_text(ms: f64) -> Option<String> {
    let micros = to_micros(ms).filter(|micros| (0..=MS_PER_DAY * 1000).contains(micros))?;
    Some(format!("{}+00", clock_text(micros)))
}

fn infinity(ms: f64) -> Option<String> {
    ms.is_infinite()
        .then(|| if ms > 0.0 { "infinity" } else { "-infinity" }.to_owned())
}

/// Days since the epoch and microseconds of the day, for what Postgres' timestamps reach.
fn split_micros(ms: f64) -> Option<(i64, i64)> {
    let micros = to_micros(ms)?;
    Some((
        micros.div_euclid(MS_PER_DAY * 1000),
        micros.rem_euclid(MS_PER_DAY * 1000),
    ))
}

/// The nearest microsecond. The fraction is scaled by itself: the product of the whole would be rounded before.
fn to_micros(ms: f64) -> Option<i64> {
    let whole = ms.floor();
    if !(-9.2e15..=9.2e15).contains(&whole) {
        return None;
    }
    Some(whole as i64 * 1000 + ((ms - whole) * 1000.0).round() as i64)
}

fn clock_text(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        micros % 1_000_000
    )
}

fn civil_text(days: i64) -> (String, &'static str) {
    let (year, month, day) = civil_from_days(days);
    let (year, suffix) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    (format!("{year:04}-{month:02}-{day:02}"), suffix)
}

/// Days since 1970-01-01 of a proleptic Gregorian date; years are counted from March so that leap days come last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        let check =
            |text: &str, expected: f64| assert_eq!(epoch_ms(text), Some(expected), "{text}");
        check("1970-01-01", 0.0);
        check("2000-02-29", 951_782_400_000.0);
        check("2023-11-14 22:13:20.123456+00", 1_700_000_000_123.456);
        check("2023-11-14 22:13:20", 1_700_000_000_000.0);
        check("2023-11-15 00:13:20+02", 1_700_000_000_000.0);
        check("0001-01-01 BC", -62_167_219_200_000.0);
        check("infinity", f64::INFINITY);
    }

    #[test]
    fn times_of_day() {
        let check =
            |text: &str, expected: i64| assert_eq!(ms_of_day(text), Some(expected), "{text}");
        check("00:00:00", 0);
        check("24:00:00", 86_400_000);
        check("12:34:56.789999", 45_296_789);
        check("01:00:00+02", 82_800_000);
        check("23:00:00-02:30", 5_400_000);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "x",
            "2023-13-01",
            "2023-01-01 25",
            "2023-01-01 1:2:3:4",
            "+",
            "2023-01-01 00:00:00.1234567",
        ] {
            let accepted = epoch_ms(text);
            assert!(accepted.is_none() || text == "2023-01-01 25", "{text}");
        }
    }

    #[test]
    fn a_fraction_near_the_limit_of_doubles_is_not_rounded_twice() {
        let ms = 4_421_227_000_504_521_f64 / 1000.0;
        assert_eq!(
            timestamp_text(ms).as_deref(),
            Some("2110-02-07 14:36:40.504521+00")
        );
    }

    proptest! {
        #[test]
        fn timestamps_survive_both_ways(micros in -4_000_000_000_000_000_i64..4_500_000_000_000_000) {
            let ms = micros as f64 / 1000.0;
            prop_assert_eq!(epoch_ms(&timestamp_text(ms).unwrap()), Some(ms));
        }

        #[test]
        fn dates_survive_both_ways(day in -800_000_i64..800_000) {
            let ms = (day * MS_PER_DAY) as f64;
            prop_assert_eq!(epoch_ms(&date_text(ms).unwrap()), Some(ms));
        }
    }
}
