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
    /// `normal`: nothing special; the system reads some pages ahead.
    Normal,
    /// `random`: pages are touched in no order, so reading ahead is wasted.
    Random,
    /// `sequential`: pages are touched once and in order; read far ahead, drop early.
    Sequential,
    /// `willneed`: pages are needed soon; start to read them now.
    WillNeed,
    /// `dontneed`: pages leave this process's memory; the file keeps their content.
    DontNeed,
    /// `hugepage`: larger pages are welcome where the system has them.
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

    /// The name, as in `madvise`'s constants.
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
