//! How much of its volume the sidecar's spool may take.

/// Bytes of a volume that are left to what the sidecar does not count.
const BESIDE: u64 = 96 << 20;

/// MiB that the records may take of a volume of `size`, a Kubernetes quantity; `None` where that cannot be read, and the sidecar's own bound holds.
///
/// The kubelet evicts a pod whose volume is larger than it may be, and the sidecar bounds the pages of its database alone. Beside them lies the
/// write-ahead log: it is copied back after each 1000 pages of 16 KiB, and so holds 16 MiB, a batch of up to 16 MiB, and what is written while the
/// shipper reads. And calls that run when the bound is reached are recorded all the same. 96 MiB are left for that; of a volume of less than 256 MiB,
/// three eighths.
pub(super) fn mebibytes(size: &str) -> Option<u64> {
    let bytes = bytes(size)?;
    Some((bytes.saturating_sub(BESIDE).max(bytes / 8 * 5) >> 20).max(1))
}

/// The bytes that a quantity is, as the chart's schema allows it: a decimal number and a unit.
fn bytes(quantity: &str) -> Option<u64> {
    let at = quantity.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(at);
    let thousandths: u128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1000_u128.pow(2),
        "M" => 1000_u128.pow(3),
        "G" => 1000_u128.pow(4),
        "T" => 1000_u128.pow(5),
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    u64::try_from(digits.checked_mul(thousandths)? / scale / 1000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_bytes() {
        for (quantity, expected) in [
            ("256Mi", Some(256 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("300M", Some(300_000_000)),
            ("268435456", Some(256 << 20)),
            ("268435456000m", Some(256 << 20)),
            ("", None),
            ("Mi", None),
            ("1..5Gi", None),
            ("-1Gi", None),
            ("256MB", None),
            ("99999999999999999999Ti", None),
        ] {
            assert_eq!(bytes(quantity), expected, "{quantity}");
        }
    }

    #[test]
    fn records_leave_room_for_what_is_not_counted() {
        for (size, expected) in [("256Mi", 160), ("1Gi", 928), ("128Mi", 80), ("64Mi", 40), ("1Ki", 1)] {
            assert_eq!(mebibytes(size), Some(expected), "{size}");
        }
        assert_eq!(mebibytes("much"), None);
    }
}
