//! `#!`: which interpreter a script asks for.
//!
//! The rule is that of `fs/binfmt_script.c`: the first line of at most 256 bytes names the
//! interpreter and at most one argument, with spaces and tabs around them. A line that is cut off
//! at its end counts only when the interpreter's name is whole.

/// Bytes of a file that are looked at (BINPRM_BUF_SIZE).
pub(crate) const HEAD: usize = 256;

/// A script's first line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Script<'a> {
    pub interpreter: &'a [u8],
    pub argument: Option<&'a [u8]>,
}

/// What kind of program a file begins like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Head<'a> {
    Script(Script<'a>),
    /// It begins with `#!`, but names nobody who could run it.
    BadScript,
    /// No script.
    Other,
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn ends_word(byte: &u8) -> bool {
    is_blank(byte) || *byte == 0
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    &text[blanks..]
}

fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    let blanks = text.iter().rev().take_while(|byte| is_blank(byte)).count();
    &text[..text.len() - blanks]
}

/// Reads the start of a file, with zeros behind its end.
pub(crate) fn parse(head: &[u8; HEAD]) -> Head<'_> {
    let Some(rest) = head.strip_prefix(b"#!") else { return Head::Other };
    let line = match rest.split(|byte| *byte == b'\n').next() {
        Some(line) if line.len() < rest.len() => line,
        // Cut off: the name is whole when something ends it, in front of the last byte or there.
        _ => {
            let name = trim_start(rest);
            if !name.iter().any(ends_word) {
                return Head::BadScript;
            }
            &rest[..rest.len() - 1]
        }
    };
    let line = trim(line);
    if line.is_empty() {
        return Head::BadScript;
    }
    let (interpreter, rest) = line.split_at(line.iter().position(ends_word).unwrap_or(line.len()));
    // A zero ends the line for who reads it as a string.
    let argument = match rest.first() {
        Some(0) | None => &[],
        Some(_) => trim(rest).split(|byte| *byte == 0).next().unwrap_or_default(),
    };
    Head::Script(Script { interpreter, argument: Some(argument).filter(|a| !a.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let length = text.len().min(HEAD);
        head[..length].copy_from_slice(&text.as_bytes()[..length]);
        head
    }

    fn parsed(text: &str) -> Option<(String, Option<String>)> {
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match parse(&head(text)) {
            Head::Script(script) => {
                Some((text_of(script.interpreter), script.argument.map(text_of)))
            }
            Head::BadScript | Head::Other => None,
        }
    }

    fn some(name: &str, argument: Option<&str>) -> Option<(String, Option<String>)> {
        Some((name.into(), argument.map(Into::into)))
    }

    #[test]
    fn blanks_around_the_words_are_not_theirs() {
        assert_eq!(parsed("#!/bin/sh\nrest"), some("/bin/sh", None));
        assert_eq!(parsed("#! \t/bin/sh \t\nrest"), some("/bin/sh", None));
        assert_eq!(parsed("#!/bin/awk  -f x \n"), some("/bin/awk", Some("-f x")));
        assert_eq!(parsed("#!/bin/sh"), some("/bin/sh", None), "the file's end ends the line");
        assert_eq!(parsed("#!/bin/sh\0-x\n"), some("/bin/sh", None), "a zero too");
    }

    #[test]
    fn who_names_no_interpreter_is_refused() {
        let blank = format!("#!{}", " ".repeat(300));
        for text in ["#!\n/bin/sh", "#!  \n", &blank] {
            assert_eq!(parse(&head(text)), Head::BadScript, "{text:?}");
        }
        assert_eq!(parsed("#!"), some("", None), "an empty name, which no file has");
        assert_eq!(parsed("#!\0/bin/sh\n"), some("", None));
        assert_eq!(parse(&head("\x7fELF")), Head::Other);
    }

    #[test]
    fn a_name_that_is_cut_off_would_run_something_else() {
        let long = format!("#!/{}\n", "d".repeat(300));
        assert_eq!(parse(&head(&long)), Head::BadScript);
        let long_argument = format!("#!/bin/sh {}\n", "d".repeat(300));
        let (name, argument) = parsed(&long_argument).expect("its name is whole");
        assert_eq!((name.as_str(), argument.map(|a| a.len())), ("/bin/sh", Some(245)));
    }
}
