//! Arrays whose bytes may have other addresses as well: two maps of one file are the same memory.

use std::cell::OnceCell;
use std::ops::Range;

use mapcall_array::Backing;
use mapcall_array::map::Mapping;
use smallvec::SmallVec;

use super::memory::Memory;
use super::role::Role;

/// The arguments of a call that may share bytes with another one at different addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Aliases(SmallVec<[Backed; 2]>);

/// An array that lies in a map, or in memory of unknown origin.
#[derive(Clone, Debug)]
struct Backed {
    role: Role,
    addresses: Range<usize>,
    /// The map, if mapcall has made it.
    map: Option<Mapping>,
    /// The mappings that the system lists at the addresses; empty until they are needed.
    found: OnceCell<Vec<Mapping>>,
}

impl Aliases {
    /// Adds an array, unless no other address leads to its bytes.
    #[inline]
    pub(super) fn add(&mut self, role: Role, memory: &Memory<'_>, itemsize: usize) {
        match memory.backing {
            Backing::Private => {}
            Backing::Map(map) => self.push(role, memory.addresses(itemsize), map.mapping()),
            _ => self.push(role, memory.addresses(itemsize), None),
        }
    }

    /// Returns the addresses of the arrays.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.iter().map(|backed| backed.addresses.clone())
    }

    fn push(&mut self, role: Role, addresses: Range<usize>, map: Option<Mapping>) {
        self.0.push(Backed {
            role,
            addresses,
            map,
            found: OnceCell::new(),
        });
    }

    /// Returns the distances, in bytes, by which the other array has to be moved so that bytes that the
    /// two share get the same addresses: 0, and further ones where files are mapped twice.
    ///
    /// Each array is given with whether it is written: bytes that are written to a private map appear
    /// in no other map.
    pub(super) fn distances(
        &self,
        (one, one_written): (Role, bool),
        (other, other_written): (Role, bool),
    ) -> SmallVec<[isize; 2]> {
        let mut distances = SmallVec::from_slice(&[0]);
        let backed = |role| self.0.iter().find(|backed| backed.role == role);
        let (Some(one), Some(other)) = (backed(one), backed(other)) else {
            return distances;
        };
        let both_known = one.map.is_some() && other.map.is_some();
        for mine in one.mappings(both_known) {
            for theirs in other.mappings(both_known) {
                let is_written =
                    (mine.is_shared() && one_written) || (theirs.is_shared() && other_written);
                if let Some(distance) = mine.distance(theirs)
                    && is_written
                    && !distances.contains(&distance)
                {
                    distances.push(distance);
                }
            }
        }
        distances
    }
}

impl Backed {
    /// Returns the map if `is_map`, otherwise the mappings that the system lists. The two can't be
    /// compared with each other, as file systems may show the system other device and inode numbers
    /// than programs.
    fn mappings(&self, is_map: bool) -> &[Mapping] {
        if is_map {
            return self.map.as_slice();
        }
        self.found
            .get_or_init(|| Mapping::find(self.addresses.clone()))
    }
}
