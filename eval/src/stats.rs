//! Statistics: means, errors, the paired comparison, the Pareto front.
//!
//! A datapoint is the unit that is drawn at random; repeats of it are not independent. So errors are taken over
//! datapoints (clustered), and comparisons over the datapoints that both combos have.

/// Fewest datapoints on which two combos must differ before a difference can count. With the sign of each difference a coin
/// toss, five equal signs come up in 1 of 16 runs (two-sided), six in 1 of 32: below 5 %. This keeps two combos that differ
/// by a constant on two datapoints from being told apart only because their variance is 0.
pub const FEWEST_DIFFERENCES: usize = 6;

/// The 97.5 % quantile of the normal distribution.
const NORMAL_QUANTILE: f64 = 1.959_963_984_540_054;

/// The mean, or `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// The standard error of the mean over all values of all clusters (a datapoint's repeats are one cluster), or `None` with
/// fewer than two clusters. With one value a cluster it is the sample standard deviation over the square root of n.
pub fn standard_error(clusters: &[Vec<f64>]) -> Option<f64> {
    let count: usize = clusters.iter().map(Vec::len).sum();
    let filled = clusters.iter().filter(|cluster| !cluster.is_empty()).count();
    if filled < 2 {
        return None;
    }
    let mean = clusters.iter().flatten().sum::<f64>() / count as f64;
    let squares: f64 = clusters.iter().map(|cluster| cluster.iter().map(|value| value - mean).sum::<f64>().powi(2)).sum();
    let correction = filled as f64 / (filled as f64 - 1.0);
    Some((correction * squares).sqrt() / count as f64)
}

/// Whether the mean of paired differences is told apart from 0 at 95 % (two-sided): a paired t test, and at least
/// [`FEWEST_DIFFERENCES`] pairs that differ.
pub fn told_apart(differences: &[f64]) -> bool {
    let differing = differences.iter().filter(|difference| difference.abs() > 1e-12).count();
    if differing < FEWEST_DIFFERENCES {
        return false;
    }
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let variance = differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / (count - 1.0);
    mean.abs() > t_quantile(differences.len() - 1) * (variance / count).sqrt()
}

/// The 97.5 % quantile of Student's t, by the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5); within 0.2 % from
/// 5 degrees of freedom on, which [`FEWEST_DIFFERENCES`] guarantees.
fn t_quantile(degrees: usize) -> f64 {
    let (z, degrees) = (NORMAL_QUANTILE, degrees as f64);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

/// What the Pareto front weighs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Higher is better.
    pub score: f64,
    /// Seconds, lower is better.
    pub latency: f64,
    /// US dollars, lower is better; infinite where unknown.
    pub usd: f64,
}

/// For each point, whether no other is better in one of the three and no worse in the rest. Equal points share their fate.
pub fn pareto_front(points: &[Point]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    let key = |point: &Point| (-point.score, point.latency, point.usd);
    let compare = |one: (f64, f64, f64), other: (f64, f64, f64)| {
        one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)).then(one.2.total_cmp(&other.2))
    };
    order.sort_by(|one, other| compare(key(&points[*one]), key(&points[*other])));
    let mut front = vec![false; points.len()];
    // Among the points seen so far (none with a lower score): latency rising, usd falling.
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    let mut previous: Option<usize> = None;
    for index in order {
        let point = points[index];
        let equal_before = previous.filter(|previous| points[*previous] == point);
        previous = Some(index);
        if let Some(equal) = equal_before {
            front[index] = front[equal];
            continue;
        }
        let at = stairs.partition_point(|(latency, _)| *latency <= point.latency);
        if at > 0 && stairs[at - 1].1 <= point.usd {
            continue;
        }
        front[index] = true;
        let from = stairs.partition_point(|(latency, _)| *latency < point.latency);
        let until = from + stairs[from..].partition_point(|(_, usd)| *usd >= point.usd);
        stairs.splice(from..until, [(point.latency, point.usd)]);
    }
    front
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn singles(values: &[f64]) -> Vec<Vec<f64>> {
        values.iter().map(|value| vec![*value]).collect()
    }

    #[test]
    fn quantiles_of_t_are_those_of_the_tables() {
        for (degrees, expected) in [(5, 2.570_6), (6, 2.446_9), (10, 2.228_1), (30, 2.042_3), (100, 1.984_0), (100_000, 1.959_99)] {
            let got = t_quantile(degrees);
            assert!((got / expected - 1.0).abs() < 0.002, "{degrees}: {got} is not {expected}");
        }
    }

    #[test]
    fn the_standard_error_of_91_right_of_100_is_the_binomials() {
        let scores: Vec<f64> = (0..100).map(|index| if index < 91 { 1.0 } else { 0.0 }).collect();
        assert!((standard_error(&singles(&scores)).unwrap() - 0.028_762).abs() < 1e-6);
    }

    #[test]
    fn repeats_of_a_datapoint_add_no_certainty_when_they_agree() {
        let once = singles(&[1.0, 0.0, 1.0, 1.0]);
        let thrice: Vec<Vec<f64>> = once.iter().map(|cluster| vec![cluster[0]; 3]).collect();
        assert!((standard_error(&once).unwrap() - standard_error(&thrice).unwrap()).abs() < 1e-12);
        assert_eq!(standard_error(&[vec![1.0, 0.0, 1.0]]), None);
        assert_eq!(standard_error(&[]), None);
    }

    #[test]
    fn combos_are_told_apart_only_on_enough_evidence() {
        let table: &[(&[f64], bool)] = &[
            (&[], false),
            (&[1.0], false),
            (&[1.0, 1.0], false),
            (&[1.0; 5], false),
            (&[1.0; 6], true),
            (&[0.0; 1000], false),
            (&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0], false),
            (&[0.9, 1.0, 0.8, 1.0, 0.7, 1.0, 0.9, 0.0], true),
        ];
        for (differences, expected) in table {
            assert_eq!(told_apart(differences), *expected, "{differences:?}");
        }
    }

    fn dominated(point: Point, points: &[Point]) -> bool {
        points.iter().any(|other| {
            let no_worse = other.score >= point.score && other.latency <= point.latency && other.usd <= point.usd;
            no_worse && *other != point
        })
    }

    proptest! {
        #[test]
        fn the_front_is_what_its_definition_says(raw in prop::collection::vec((0..4_u8, 0..4_u8, 0..4_u8), 0..40)) {
            let usd = |value: u8| if value == 3 { f64::INFINITY } else { f64::from(value) };
            let points: Vec<Point> =
                raw.into_iter().map(|(score, latency, cost)| Point { score: f64::from(score), latency: f64::from(latency), usd: usd(cost) }).collect();
            let expected: Vec<bool> = points.iter().map(|point| !dominated(*point, &points)).collect();
            prop_assert_eq!(pareto_front(&points), expected);
        }
    }
}
