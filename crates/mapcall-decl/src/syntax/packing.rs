//! `#pragma pack`, which limits the alignment of the members of the structs behind it.

/// The limit of `#pragma pack` for the alignment of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PackLimit {
    /// No limit.
    #[default]
    None,
    /// A limit in bytes.
    Bytes(u8),
    /// A limit that is not known, as it is a macro that no preprocessor has replaced.
    Unknown,
}

/// The state of `#pragma pack` at a position of a text: the limit, and those that `push` has saved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packing {
    limit: PackLimit,
    saved: Vec<(Option<String>, PackLimit)>,
}

impl Packing {
    /// Returns the state with a limit and without saved ones.
    pub(crate) fn limited(limit: PackLimit) -> Self {
        Self {
            limit,
            saved: Vec::new(),
        }
    }

    pub(crate) fn limit(&self) -> PackLimit {
        self.limit
    }

    /// Applies a directive if it is `#pragma pack` (GCC manual, "Structure-Layout Pragmas").
    pub(crate) fn apply(&mut self, directive: &str) {
        let directive = directive.trim_start();
        let pragma = directive.strip_prefix('#').or(directive.strip_prefix("%:"));
        let pragma = pragma.and_then(|pragma| pragma.trim_start().strip_prefix("pragma"));
        if let Some(pragma) = pragma {
            self.apply_pragma(pragma);
        }
    }

    /// Applies the text of a pragma, without `#pragma`, if it is `pack`.
    pub(crate) fn apply_pragma(&mut self, pragma: &str) {
        let list = pragma.trim_start().strip_prefix("pack");
        let list = list.and_then(|list| list.trim_start().strip_prefix('('));
        let Some((list, _)) = list.and_then(|list| list.split_once(')')) else {
            return;
        };
        let mut arguments = list.split(',').map(str::trim);
        match arguments.next() {
            Some("") | None => self.limit = PackLimit::None,
            Some("push") => {
                let mut label = None;
                let mut limit = self.limit;
                for argument in arguments {
                    match number(argument) {
                        Some(number) => limit = number,
                        None => label = Some(argument.to_owned()),
                    }
                }
                self.saved.push((label, self.limit));
                self.limit = limit;
            }
            Some("pop") => match arguments
                .next()
                .map(|argument| (argument, number(argument)))
            {
                Some((_, Some(limit))) => {
                    self.pop(None);
                    self.limit = limit;
                }
                Some((label, None)) => self.pop(Some(label)),
                None => self.pop(None),
            },
            Some("show") => {}
            Some(argument) => self.limit = number(argument).unwrap_or(PackLimit::Unknown),
        }
    }

    /// Restores the limit that was saved last, or that was saved with a label.
    fn pop(&mut self, label: Option<&str>) {
        let labelled = label.and_then(|label| {
            self.saved
                .iter()
                .rposition(|(known, _)| known.as_deref() == Some(label))
        });
        if let Some(at) = labelled {
            self.saved.truncate(at + 1);
        }
        if let Some((_, limit)) = self.saved.pop() {
            self.limit = limit;
        }
    }
}

/// Returns the limit that a number gives; `None` if the text is no number.
fn number(text: &str) -> Option<PackLimit> {
    let number = text.parse().ok()?;
    Some(match number {
        0 => PackLimit::None,
        1 | 2 | 4 | 8 | 16 => PackLimit::Bytes(number),
        _ => PackLimit::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_pops() {
        let mut packing = Packing::default();
        for (directive, limit) in [
            ("#pragma pack(push)", PackLimit::None),
            ("#pragma pack(2)", PackLimit::Bytes(2)),
            ("# pragma pack ( push , label, 1 )", PackLimit::Bytes(1)),
            ("#pragma pack(push, 8)", PackLimit::Bytes(8)),
            (
                "#pragma GCC diagnostic ignored \"-Wpacked\"",
                PackLimit::Bytes(8),
            ),
            ("#pragma pack(pop, label)", PackLimit::Bytes(2)),
            ("#pragma pack(pop)", PackLimit::None),
            ("#pragma pack(pop)", PackLimit::None),
            ("#pragma pack(push, 4)", PackLimit::Bytes(4)),
            ("#pragma pack()", PackLimit::None),
            ("#pragma pack(N)", PackLimit::Unknown),
            ("#pragma pack(0)", PackLimit::None),
            ("%:pragma pack(16)", PackLimit::Bytes(16)),
        ] {
            packing.apply(directive);
            assert_eq!(packing.limit(), limit, "{directive}");
        }
    }
}
