//! Certificates from PEM, strictly: a block that cannot be used is an error. A reader that drops it would leave out a root without a word.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const RULE: &str = "-----";

/// All certificates of `text`, in order. Text between blocks is a comment.
///
/// # Errors
/// What is wrong, and with the how-manieth block, counted from 1.
pub(super) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim) {
        let number = found.len() + 1;
        match &mut block {
            None if line.starts_with(BEGIN) => block = Some(begun(line).map_err(|reason| format!("block {number} {reason}"))?),
            None if is_rule(line) => {
                return Err(format!("block {number} has no line `-----BEGIN CERTIFICATE-----` that can be read, but `{}`", shown(line)));
            }
            None => {}
            Some(_) if line.starts_with(BEGIN) => return Err(format!("block {number} has no line `-----END CERTIFICATE-----`")),
            Some(body) => {
                body.push_str(line);
                body.push('\n');
                if line.starts_with(END) || is_rule(line) {
                    found.push(certificate(body).map_err(|reason| format!("block {number} {reason}"))?);
                    block = None;
                }
            }
        }
    }
    match block {
        Some(_) => Err(format!("block {} has no line `-----END CERTIFICATE-----`", found.len() + 1)),
        None => Ok(found),
    }
}

/// Whether a line is, or was meant to be, the first or last of a block.
fn is_rule(line: &str) -> bool {
    line.starts_with("--") && (line.contains("BEGIN") || line.contains("END") || line.contains("CERTIFICATE"))
}

fn begun(line: &str) -> Result<String, String> {
    let label = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(RULE));
    match label {
        Some("CERTIFICATE") => Ok(format!("{line}\n")),
        Some(label) if label.ends_with("PRIVATE KEY") => {
            Err("is a private key; only certificates belong here, and the key should be replaced".to_owned())
        }
        Some(label) => Err(format!("is a {}; write certificates as CERTIFICATE", shown(label))),
        None => Err(format!("begins with `{}` instead of `-----BEGIN CERTIFICATE-----`", shown(line))),
    }
}

fn certificate(block: &str) -> Result<CertificateDer<'static>, String> {
    let certificate = CertificateDer::from_pem_slice(block.as_bytes()).map_err(|error| format!("is broken: {error}"))?;
    RootCertStore::empty().add(certificate.clone()).map_err(|error| format!("is no certificate that can be trusted as a root: {error}"))?;
    Ok(certificate)
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> String {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem().replace("\r\n", "\n")
    }

    #[test]
    fn blocks_are_read_with_comments_and_any_line_end() {
        let (one, two) = (root(), root());
        let text = format!("# Corporate root\n  subject=/CN=x\n{one}\nand another\n{two}").replace('\n', "\r\n");
        assert_eq!(certificates(&text).unwrap().len(), 2);
        assert_eq!(certificates("").unwrap().len(), 0);
        assert_eq!(certificates("only a comment, and a list:\n- a\n-- b").unwrap().len(), 0);
    }

    #[test]
    fn a_broken_block_is_named() {
        let (good, other) = (root(), root());
        let middle = other.len() / 2;
        let lines: Vec<&str> = other.lines().collect();
        let without =
            |index: usize| lines.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| *line).collect::<Vec<_>>().join("\n");
        let not_base64 = format!("{}*{}", &other[..middle], &other[middle + 1..]);
        let cut = &other[..middle];
        let table = [
            (not_base64, "block 2 is broken"),
            (cut.to_owned(), "block 2 has no line `-----END"),
            (without(lines.len() - 1) + "\n" + &good, "block 2 has no line `-----END"),
            (without(0), "block 2 has no line `-----BEGIN"),
            (without(2), "block 2 is no certificate"),
            (other.replace("-----BEGIN", "----BEGIN"), "block 2 has no line `-----BEGIN"),
            (other.replace("BEGIN CERTIFICATE", "BEGIN TRUSTED CERTIFICATE"), "block 2 is a TRUSTED CERTIFICATE"),
            (other.replace("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE----"), "block 2 begins with"),
            (other.replace("END CERTIFICATE-----", "END CERTIFICATE"), "block 2 is broken"),
            ("-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n".to_owned(), "block 2 is a private key"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "block 2 is no certificate"),
            ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(), "block 2 is no certificate"),
        ];
        for (broken, expected) in table {
            let text = format!("{good}{broken}");
            let error = certificates(&text).map(|all| all.len()).unwrap_err();
            assert!(error.starts_with(expected), "{error}\n{text}");
        }
    }
}
