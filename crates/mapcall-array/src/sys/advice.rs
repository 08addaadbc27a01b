/// The advice to the system how a program will use pages of a map (`madvise`).
///
/// ```
/// use mapcall_array::map::Advice;
///
/// assert_eq!("willneed".parse::<Advice>()?, Advice::WillNeed);
/// # Ok::<(), mapcall_array::map::MapError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Advice {
    /// `normal`: no special advice; the system reads some pages ahead.
    Normal,
    /// `random`: pages are used in random order, so that the system does not read ahead.
    Random,
    /// `sequential`: pages are used once, in order, so that the system reads far ahead and drops them early.
    Sequential,
    /// `willneed`: pages are needed soon, so that the system starts to read them.
    WillNeed,
    /// `dontneed`: pages are removed from this process's memory; the file keeps their content.
    DontNeed,
    /// `hugepage`: the system may use larger pages.
    HugePage,
}

impl Advice {
    /// All kinds of advice.
    ///
    /// ```
    /// # use mapcall_array::map::Advice;
    /// let names = Advice::ALL.map(Advice::as_str).join(", ");
    /// assert_eq!(names, "normal, random, sequential, willneed, dontneed, hugepage");
    /// ```
    pub const ALL: [Self; 6] = [
        Self::Normal,
        Self::Random,
        Self::Sequential,
        Self::WillNeed,
        Self::DontNeed,
        Self::HugePage,
    ];

    /// Returns the name, that of the constant of `madvise` in lower case.
    ///
    /// ```
    /// # use mapcall_array::map::Advice;
    /// assert_eq!(Advice::DontNeed.as_str(), "dontneed");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Random => "random",
            Self::Sequential => "sequential",
            Self::WillNeed => "willneed",
            Self::DontNeed => "dontneed",
            Self::HugePage => "hugepage",
        }
    }
}
