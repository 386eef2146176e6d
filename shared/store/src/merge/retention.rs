//! Which hours retention removes. Pure: backends do the removing.

use super::batch::Hour;
use crate::RetentionPolicy;

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// The first day that stays under the age limit: whole days before it have ended longer ago than `max_age_us`.
pub(crate) fn first_day_kept(policy: &RetentionPolicy, now_us: i64) -> Option<i64> {
    policy.max_age_us.map(|age_us| now_us.saturating_sub(age_us).div_euclid(DAY_US))
}

/// The first day whose `seen` entries stay.
pub(crate) fn first_day_seen(policy: &RetentionPolicy, now_us: i64) -> i64 {
    now_us.saturating_sub(policy.dedupe_horizon_us).div_euclid(DAY_US)
}

/// The hours to remove, oldest first, out of (hour, payload bytes) in order of time: whole days that are too old; then, while there is too
/// much, the oldest, but never the open one.
pub(crate) fn hours_to_remove(hours: &[(Hour, u64)], policy: &RetentionPolicy, now_us: i64) -> Vec<Hour> {
    let open = Hour::of(now_us);
    let first_day = first_day_kept(policy, now_us).unwrap_or(i64::MIN);
    let mut bytes: u64 = hours.iter().map(|(_, bytes)| *bytes).sum();
    let mut gone = Vec::new();
    for (hour, size) in hours {
        let too_old = hour.day < first_day;
        let too_much = policy.max_bytes.is_some_and(|max| bytes > max) && *hour < open;
        if !too_old && !too_much {
            break;
        }
        bytes -= size;
        gone.push(*hour);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: [(Hour, u64); 4] = [
        (Hour { day: 9, hour: 23 }, 10),
        (Hour { day: 10, hour: 0 }, 10),
        (Hour { day: 10, hour: 1 }, 10),
        (Hour { day: 10, hour: 2 }, 10),
    ];
    const NOW_US: i64 = 10 * DAY_US + 2 * 3_600_000_000 + 5;

    fn removed(max_age_us: Option<i64>, max_bytes: Option<u64>) -> usize {
        let policy = RetentionPolicy { max_age_us, max_bytes, dedupe_horizon_us: DAY_US };
        hours_to_remove(&HOURS, &policy, NOW_US).len()
    }

    #[test]
    fn whole_days_go_by_age_and_hours_by_size() {
        assert_eq!(removed(None, None), 0);
        assert_eq!(removed(Some(DAY_US), None), 0);
        assert_eq!(removed(Some(3_600_000_000), None), 1);
        assert_eq!(removed(None, Some(40)), 0);
        assert_eq!(removed(None, Some(39)), 1);
        assert_eq!(removed(None, Some(20)), 2);
    }

    #[test]
    fn the_open_hour_stays_whatever_its_size() {
        assert_eq!(removed(None, Some(0)), 3);
    }
}
