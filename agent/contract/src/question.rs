//! What a person is asked when an adapter is set up.

/// A question about one key of an adapter's block of settings. What stands under the key in the adapter's example is
/// the default, and says what kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The key.
    pub key: &'static str,
    /// The question, in plain words.
    pub ask: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// May be left out.
    pub optional: bool,
    /// Asked only while this other key is there, and left out with it.
    pub with: Option<&'static str>,
    /// Left out, and not asked, where this other key is there.
    pub without: Option<&'static str>,
    /// A secret that both sides only need to agree on: it can be made here.
    pub made: bool,
}

impl Question {
    /// A question that must be answered.
    pub const fn new(key: &'static str, ask: &'static str, help: &'static str) -> Self {
        Self {
            key,
            ask,
            help,
            optional: false,
            with: None,
            without: None,
            made: false,
        }
    }

    /// It may be left out.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// It means something only beside another key.
    #[must_use]
    pub const fn with(mut self, key: &'static str) -> Self {
        self.with = Some(key);
        self
    }

    /// It means nothing beside another key.
    #[must_use]
    pub const fn without(mut self, key: &'static str) -> Self {
        self.without = Some(key);
        self
    }

    /// The secret can be made here.
    #[must_use]
    pub const fn made(mut self) -> Self {
        self.made = true;
        self
    }
}
