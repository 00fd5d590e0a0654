//! How errors are told.

use std::error::Error;

/// An error with its causes, in one line. A cause that the text has already is left out: many errors repeat theirs.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self.1.as_deref()?)
        }
    }

    #[test]
    fn causes_are_told_once() {
        let disk = Told("no space", None);
        let file = Told("write a: no space", Some(Box::new(disk)));
        let call = Told("keep the answer", Some(Box::new(file)));
        assert_eq!(sentence(&call), "keep the answer: write a: no space");
    }
}
