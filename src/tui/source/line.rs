//! The line that is typed to a program without a terminal: it is shown and mended here, and goes to the program when it is
//! complete, as a terminal does it.

/// A line that is being typed.
#[derive(Debug, Default)]
pub struct Line(String);

/// What typing did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// What is shown of it.
    pub shown: Vec<u8>,
    /// What goes to the program.
    pub sent: Vec<u8>,
    /// Nothing more will be typed (ctrl-d on an empty line).
    pub is_last: bool,
    /// The program is left (ctrl-c).
    pub leaves: bool,
}

impl Line {
    /// Takes what a terminal sends for keys.
    pub fn typed(&mut self, bytes: &[u8]) -> Edited {
        let mut edited = Edited::default();
        for letter in String::from_utf8_lossy(bytes).chars() {
            match letter {
                '\r' | '\n' => {
                    edited.shown.extend(b"\r\n");
                    edited.sent.append(&mut std::mem::take(&mut self.0).into_bytes());
                    edited.sent.push(b'\n');
                }
                '\x7f' | '\x08' if self.0.pop().is_some() => edited.shown.extend(b"\x08 \x08"),
                '\x04' if self.0.is_empty() => edited.is_last = true,
                '\x04' => edited.sent.append(&mut std::mem::take(&mut self.0).into_bytes()),
                '\x03' => edited.leaves = true,
                letter if letter.is_control() && letter != '\t' => {}
                letter => {
                    self.0.push(letter);
                    edited.shown.extend(letter.to_string().bytes());
                }
            }
        }
        edited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_when_it_is_complete() {
        let mut line = Line::default();
        let edited = line.typed("Hodwy\x7f\x7f\x7fwdy\r".as_bytes());
        assert_eq!(edited.sent, b"Howdy\n");
        assert!(edited.shown.starts_with(b"Hodwy\x08 \x08") && edited.shown.ends_with(b"wdy\r\n"), "{edited:?}");
        assert_eq!(line.typed(b"half"), Edited { shown: b"half".to_vec(), ..Edited::default() });
        assert_eq!(line.typed(b"\x04").sent, b"half");
        assert!(line.typed(b"\x04").is_last && line.typed(b"\x03").leaves);
    }
}
