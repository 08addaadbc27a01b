//! `#pragma pack`, which changes the layout of the structs behind it.

/// The state of `#pragma pack`: whether structs are packed at this position, and the states saved by `push`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    is_packed: bool,
    saved: Vec<bool>,
}

impl Packing {
    pub(crate) fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// Returns the lines of C that set this state, whatever the state before.
    pub(crate) fn directive(&self) -> String {
        let pack = if self.is_packed { "1" } else { "" };
        format!("\n#pragma pack({pack})\n")
    }

    /// Applies a directive if it is `#pragma pack`.
    pub(crate) fn apply(&mut self, directive: &str) {
        let Some(arguments) = arguments(directive) else {
            return;
        };
        let mut arguments = arguments.split(',').map(str::trim);
        match arguments.next() {
            Some("") | None => self.is_packed = false,
            Some("push") => self.saved.push(self.is_packed),
            Some("pop") => self.is_packed = self.saved.pop().unwrap_or(false),
            Some(_) => self.is_packed = true,
        }
        // `push` and `pop` may be followed by a label and a number.
        self.is_packed |= arguments.any(|argument| argument.starts_with(|c: char| c.is_numeric()));
    }
}

/// Returns the text in the parentheses of `#pragma pack(...)`.
fn arguments(directive: &str) -> Option<&str> {
    let pragma = directive.trim_start().strip_prefix('#')?.trim_start();
    let pack = pragma.strip_prefix("pragma")?.trim_start();
    let list = pack.strip_prefix("pack")?.trim_start().strip_prefix('(')?;
    list.split_once(')').map(|(arguments, _)| arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_pops() {
        let mut packing = Packing::default();
        for (directive, is_packed) in [
            ("#pragma pack(push)", false),
            ("#pragma pack(2)", true),
            ("# pragma pack ( push , label, 1 )", true),
            ("#pragma GCC diagnostic ignored \"-Wpacked\"", true),
            ("#pragma pack(pop, label)", true),
            ("#pragma pack(pop)", false),
            ("#pragma GCC diagnostic ignored \"-Wpacked\"", false),
            ("#pragma pack(pop)", false),
            ("#pragma pack(push, 4)", true),
            ("#pragma pack()", false),
            ("#pragma pack(N)", true),
        ] {
            packing.apply(directive);
            assert_eq!(packing.is_packed(), is_packed, "{directive}");
        }
    }
}
