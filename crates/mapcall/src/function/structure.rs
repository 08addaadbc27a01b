//! Structs and unions with named members, whose pointers borrow what they lead to.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Range;

use mapcall_array::layout::Order;
use mapcall_array::{Array, Buffer, DType};

use super::arguments::{self, Lent};
use super::struct_slot::{Retaining, StructSlot};
use super::{Arg, CallError, Function, Handle, KeepAlive, Value};
use crate::contract::{
    ArgumentError, HostValue, Number, Problem, Remedy, Role, Rule, Scalar, Subject, target_name,
};
use crate::ctype::{BitField, CType};
use crate::library::Library;

/// A struct or union of C with named members, in memory that C may read and write.
///
/// ```
/// use mapcall::{Arg, compile};
///
/// // SAFETY: the code has no initialisers, and its functions stay within their arrays.
/// let library = unsafe {
///     compile("
///         struct job { const double *in; double *out; int n; struct { double by; } scale; };
///         int run(struct job *job)
///         {
///             for (int i = 0; i < job->n; i++) job->out[i] = job->scale.by * job->in[i];
///             return job->n;
///         }
///     ")?
/// };
/// let run = library.function("run")?;
///
/// let (input, mut output) = ([1.0, 2.0, 3.0], [0.0; 3]);
/// let mut job = run.structure("job")?;
/// job.set("in", &input)?;
/// job.set("out", &mut output)?;
/// job.set("n", 3)?;
/// job.set("scale.by", 0.5)?;
/// assert_eq!(run.call(&mut [Arg::from(&mut job)])?.to_i128(), Some(3));
/// assert_eq!(job.get("n")?.to_i128(), Some(3));
/// drop(job); // until here, it borrows the arrays
/// assert_eq!(output, [0.5, 1.0, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All bytes are 0 at first. A pointer member takes what a parameter of its type takes: a borrowed array, an
/// [`Array`], a handle, a text, a function, another struct, [`Arg::Null`]; and a [list](Arg::list) if it is a pointer
/// to pointers. What was assigned is kept alive, borrowed or owned, until the member gets another value or the struct
/// is dropped. A member of a struct inside is named with a dot.
///
/// An argument made of `&mut Struct` is one that the function may write, one made of `&Struct` only one that it reads;
/// for a parameter that is a struct itself, both pass the bytes.
pub struct Struct<'a> {
    library: Library,
    ctype: CType,
    size: usize,
    memory: Buffer,
    kept: Vec<Kept<'a>>,
}

/// What a pointer member was given.
struct Kept<'a> {
    /// The bytes of the member.
    bytes: Range<usize>,
    argument: Arg<'a>,
    /// The texts, lists and uses of handles that the pointer leads to.
    lent: Lent,
}

/// A member of a struct, or of a struct inside.
struct Member {
    ctype: CType,
    offset: usize,
    bits: Option<BitField>,
}

impl Function {
    /// Makes the struct of a parameter, which is one or a pointer to one; of the result for the name `return`.
    ///
    /// See [`Struct`] for an example.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if there is no such parameter, or if its type is no struct whose members are known.
    pub fn structure<'a>(&self, parameter: &str) -> Result<Struct<'a>, CallError> {
        let prototype = self.prototype();
        let mut parameters = prototype.parameters.iter();
        let ctype = match parameter {
            "return" => Some(&prototype.returns),
            name => parameters
                .find(|parameter| parameter.name == name)
                .map(|parameter| &parameter.ctype),
        };
        let Some(ctype) = ctype else {
            let expected = "the name of a parameter".to_owned();
            let names = prototype.parameters.iter().map(|each| each.name.as_str());
            let names: Vec<&str> = names.collect();
            let remedy = Remedy::Words(format!("give one of {}", names.join(", ")));
            let found = parameter.to_owned();
            let problem = Problem::Type { found, remedy };
            let error =
                ArgumentError::new(prototype.name.clone(), String::new(), expected, problem);
            return Err(Box::new(error).into());
        };
        let target = match ctype.resolved() {
            CType::Pointer(pointer) => &pointer.target,
            _ => ctype,
        };
        Struct::new(self.library(), target)
    }
}

impl<'a> Struct<'a> {
    /// Makes a struct of a type, such as one of [`Declarations::structure`](crate::declarations::Declarations).
    ///
    /// ```
    /// use mapcall::{Library, Struct};
    /// use mapcall::declarations::Declarations;
    ///
    /// let header = Declarations::parse("struct point { short tag; double x, y; };");
    /// let ctype = header.structure("point").unwrap();
    /// let mut point = Struct::new(&Library::process()?, &ctype)?;
    /// point.set("y", 2.5)?;
    /// assert_eq!((point.get("x")?.to_f64(), point.get("y")?.to_f64()), (Some(0.0), Some(2.5)));
    ///
    /// let error = point.set("tag", 40_000).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "point: tag: expected short, got 40000; give a value from -32768 to 32767"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Handles that [`get`](Self::get) returns keep `library` loaded, into which they may lead.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if the type is no struct or union whose members are known; [`CallError::Array`] if there
    /// is no memory.
    pub fn new(library: &Library, ctype: &CType) -> Result<Self, CallError> {
        let name = target_name(ctype);
        let size = match ctype.resolved() {
            CType::Record(_) => ctype.size(),
            _ => None,
        };
        // Memory on the heap is aligned so.
        let is_aligned = ctype.alignment().is_some_and(|alignment| alignment <= 64);
        let Some(size) = size.filter(|_| is_aligned) else {
            let found = ctype.to_string();
            let remedy = Remedy::Words("write its members into the prototype or the header".into());
            let problem = Problem::Type { found, remedy };
            let expected = "a struct with its members".to_owned();
            let error = ArgumentError::new(name, String::new(), expected, problem);
            return Err(Box::new(error).into());
        };
        let memory = Buffer::zeroed(size).map_err(|source| CallError::Array {
            function: name,
            source: Box::new(source),
        })?;
        Ok(Self {
            library: library.clone(),
            ctype: ctype.clone(),
            size,
            memory,
            kept: Vec::new(),
        })
    }

    /// Returns the C type.
    #[must_use]
    pub fn ctype(&self) -> &CType {
        &self.ctype
    }

    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the memory has `size` bytes, which were zeroed when it was made. C writes them during calls with a
        // `&mut` borrow of this struct only, and this module writes them in functions that have one.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.size) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the memory has `size` bytes, which were zeroed when it was made. The struct is borrowed for writing,
        // so that nothing else accesses them.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr(), self.size) }
    }

    /// Sets a member.
    ///
    /// See [`Struct`] for an example. An array inside the struct takes an array of its dtype and number of elements,
    /// one of `char` also a text, whose rest becomes zeros.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if there is no member of that name, or if its type does not take the value.
    pub fn set(&mut self, name: &str, value: impl Into<Arg<'a>>) -> Result<(), CallError> {
        self.set_argument(name, value.into())
    }

    fn set_argument(&mut self, name: &str, argument: Arg<'a>) -> Result<(), CallError> {
        let Member {
            ctype,
            offset,
            bits,
        } = self.member(name)?;
        let size = ctype.size().unwrap_or_default();
        let bytes = offset..offset + size;
        let refuse = |problem| self.refuse(name, &ctype, problem);
        let misfit = |problem, rule: &Rule| {
            let mut error = self.refuse(name, &ctype, problem);
            if let CallError::Argument(error) = &mut error {
                error.expected = rule.to_string();
                error.subject = Subject::of_rule(rule);
            }
            error
        };
        let words = |found: &str, remedy: &str| Problem::Type {
            found: found.to_owned(),
            remedy: Remedy::Words(remedy.into()),
        };
        let mut lent = Lent::default();
        if let CType::Array(_) = ctype.resolved() {
            let content = elements(&ctype, &argument).map_err(refuse)?;
            if let Some(to) = self.bytes_mut().get_mut(bytes.clone()) {
                to.fill(0);
                for (to, from) in to.iter_mut().zip(content) {
                    *to = from;
                }
            }
            self.kept.retain(|kept| is_apart(&kept.bytes, &bytes));
            return Ok(());
        }
        let rule = Rule::of_element(&ctype);
        let rule = rule.map_err(|reason| refuse(words(&reason, "leave it as it is")))?;
        let mut slots = vec![0_u64; size.div_ceil(size_of::<u64>()).max(1)];
        match (&argument, &rule) {
            (Arg::List(elements), _) => {
                let element = rule.pointers().map(Rule::of_element);
                let Some(Ok(element)) = element else {
                    return Err(refuse(words("a list", "give a value of its type")));
                };
                let list = lent.list(&element, elements);
                let list = list.map_err(|error| {
                    let (index, problem) = *error;
                    let mut error = misfit(problem, &element);
                    if let CallError::Argument(error) = &mut error {
                        error.parameter = format!("{name}[{index}]");
                    }
                    error
                })?;
                let address = list.as_ptr().expose_provenance() as u64;
                slots.iter_mut().take(1).for_each(|slot| *slot = address);
            }
            (Arg::Struct(structure), Rule::Record { ctype, dtype, .. }) => {
                let value = structure.by_value(ctype, dtype);
                let converted =
                    value.and_then(|value| rule.convert_element(value, false, &mut slots));
                converted.map_err(|problem| misfit(problem, &rule))?;
            }
            _ => arguments::with_element(&argument, &mut lent, |value| {
                rule.convert_element(value, false, &mut slots)
            })
            .map_err(|problem| misfit(problem, &rule))?,
        }
        if let Some(bits) = bits {
            let value = match Number::of(&ctype).map(|number| number.value(&slots)) {
                Some(Scalar::Int(value)) => value,
                Some(Scalar::Bool(value)) => value.into(),
                _ => 0,
            };
            let (least, most) = bits.range();
            if value < least || value > most {
                let value = Scalar::Int(value);
                let (least, most) = (least.to_string(), most.to_string());
                return Err(refuse(Problem::Bounds { value, least, most }));
            }
            if let Some(to) = self.bytes_mut().get_mut(offset..offset + bits.bytes()) {
                bits.write(to, value);
            }
            return Ok(());
        }
        if let Some(to) = self.bytes_mut().get_mut(bytes.clone()) {
            to.copy_from_slice(rule.element_bytes(&slots, size));
        }
        self.kept.retain(|kept| is_apart(&kept.bytes, &bytes));
        self.kept.push(Kept {
            bytes,
            argument,
            lent,
        });
        Ok(())
    }

    /// Returns the value of a member: a number, a copy of a text, a handle, the bytes of a struct inside. For an array
    /// inside the struct, see [`array`](Self::array).
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `localeconv`; the struct has these members first.
    /// let localeconv = unsafe {
    ///     process.function("struct lconv { char *decimal_point, *thousands_sep; }; struct lconv *localeconv(void)")?
    /// };
    /// let mut own = localeconv.structure("return")?;
    /// own.set("decimal_point", ",")?;
    /// assert!(own.get("decimal_point")?.into_handle().is_some());
    /// assert!(own.get("thousands_sep")?.into_handle().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A handle to memory that this struct borrows is refused by calls, as the borrow may have ended. Pass the
    /// memory itself instead.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if there is no member of that name, or if it is an array.
    pub fn get(&self, name: &str) -> Result<Value, CallError> {
        let Member {
            ctype,
            offset,
            bits,
        } = self.member(name)?;
        if let Some(bits) = bits {
            let bytes = self.bytes().get(offset..offset + bits.bytes());
            let value = bits.read(bytes.unwrap_or_default());
            return Ok(Value::Scalar(match ctype.resolved() {
                CType::Bool => Scalar::Bool(value != 0),
                _ => Scalar::Int(value),
            }));
        }
        if let CType::Array(_) = ctype.resolved() {
            let found = "an array".to_owned();
            let remedy = Remedy::Words(format!("call array({name:?})"));
            return Err(self.refuse(name, &ctype, Problem::Type { found, remedy }));
        }
        let size = ctype.size().unwrap_or_default();
        let bytes = self.bytes().get(offset..offset + size);
        let bytes = bytes.unwrap_or_default();
        Ok(Value::of_bytes(&ctype, bytes, |pointer, address| {
            let mut alive = KeepAlive::default();
            self.slot(false).keep_alive(&mut alive);
            let (library, target) = (&self.library, target_name(&pointer.target));
            // SAFETY: the member has NULL, the address of what it was given, which `alive` has, or one that a function
            // of C has stored there as a pointer of this type.
            unsafe { Handle::from_address(library, &target, address, pointer.is_const, alive) }
        }))
    }

    /// Returns a copy of an array inside the struct.
    ///
    /// ```
    /// use mapcall::{Library, Struct};
    /// use mapcall::declarations::Declarations;
    ///
    /// let header = Declarations::parse("struct body { char name[8]; double at[2][3]; };");
    /// let mut body = Struct::new(&Library::process()?, &header.structure("body").unwrap())?;
    /// let at = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    /// body.set("at", &at)?; // copied
    /// body.set("name", "sun")?;
    /// assert_eq!(body.array("at")?.view::<f64>()?[[1, 0]], 4.0);
    /// assert_eq!(body.array("name")?.view::<i8>()?.as_slice().unwrap()[..4], [115, 117, 110, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if there is no member of that name, or if it is no array of plain data;
    /// [`CallError::Array`] if there is no memory.
    pub fn array(&self, name: &str) -> Result<Array, CallError> {
        let Member { ctype, offset, .. } = self.member(name)?;
        let known = array_dtype(&ctype);
        let Some((dtype, shape)) = known else {
            let found = "no array of plain data".to_owned();
            let remedy = Remedy::Words(format!("call get({name:?})"));
            return Err(self.refuse(name, &ctype, Problem::Type { found, remedy }));
        };
        let array = Array::zeros(dtype, &shape, Order::C).map_err(|source| CallError::Array {
            function: target_name(&self.ctype),
            source: Box::new(source),
        })?;
        let size = array.layout().nbytes();
        let from = self.bytes().get(offset..offset + size).unwrap_or_default();
        let to = array.as_mut_ptr();
        // SAFETY: the new array has `size` bytes, and `from` at most as many.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        Ok(array)
    }

    /// Finds a member by its name; names of structs inside are separated by dots.
    fn member(&self, name: &str) -> Result<Member, CallError> {
        let mut found = Member {
            ctype: self.ctype.clone(),
            offset: 0,
            bits: None,
        };
        for part in name.split('.') {
            let CType::Record(record) = found.ctype.resolved() else {
                return Err(self.unknown(name, &[]));
            };
            let members = record.named_members();
            let Some(&(_, ctype, offset, bits)) = members.iter().find(|(known, ..)| *known == part)
            else {
                let names: Vec<&str> = members.iter().map(|(known, ..)| *known).collect();
                return Err(self.unknown(name, &names));
            };
            found = Member {
                ctype: ctype.clone(),
                offset: found.offset + offset,
                bits,
            };
        }
        Ok(found)
    }

    fn unknown(&self, name: &str, names: &[&str]) -> CallError {
        let remedy = match names {
            [] => "leave out what stands behind the dot".to_owned(),
            names => format!("give one of {}", names.join(", ")),
        };
        let problem = Problem::Type {
            found: name.to_owned(),
            remedy: Remedy::Words(remedy),
        };
        let expected = "the name of a member".to_owned();
        let error = ArgumentError::new(target_name(&self.ctype), String::new(), expected, problem);
        Box::new(error).into()
    }

    fn refuse(&self, name: &str, ctype: &CType, problem: Problem) -> CallError {
        let (function, expected) = (target_name(&self.ctype), ctype.to_string());
        Box::new(ArgumentError::new(
            function,
            name.to_owned(),
            expected,
            problem,
        ))
        .into()
    }

    fn slot(&self, is_writeable: bool) -> StructSlot<'_> {
        StructSlot::new(&self.ctype, (&self.memory, self.size), self, is_writeable)
    }
}

impl Retaining for Struct<'_> {
    fn keep_alive(&self, alive: &mut KeepAlive) {
        for kept in &self.kept {
            arguments::keep_alive(&kept.argument, alive);
            kept.lent.keep_borrowed(alive);
        }
    }
}

impl fmt::Debug for Struct<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Struct")
            .field("ctype", &self.ctype)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// A struct that the function only reads.
impl<'a> From<&'a Struct<'_>> for Arg<'a> {
    fn from(structure: &'a Struct<'_>) -> Self {
        Self::Struct(structure.slot(false))
    }
}

/// A struct that the function may write.
impl<'a> From<&'a mut Struct<'_>> for Arg<'a> {
    fn from(structure: &'a mut Struct<'_>) -> Self {
        Self::Struct(structure.slot(true))
    }
}

/// Returns whether two ranges of bytes have none in common.
fn is_apart(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.end <= other.start || other.end <= one.start
}

/// Returns the dtype and the shape of an array of plain data.
fn array_dtype(ctype: &CType) -> Option<(DType, Vec<usize>)> {
    let mut shape = Vec::new();
    let mut item = ctype.resolved();
    while let CType::Array(array) = item {
        shape.push(array.length?);
        item = array.item.resolved();
    }
    if shape.is_empty() || matches!(item, CType::Pointer(_) | CType::Record(_)) {
        return None;
    }
    Some((item.dtype().ok()?, shape))
}

/// Returns the bytes that an argument has for an array inside a struct.
fn elements(ctype: &CType, argument: &Arg<'_>) -> Result<Vec<u8>, Problem> {
    let wrong = |found: &str, remedy: String| Problem::Type {
        found: found.to_owned(),
        remedy: Remedy::Words(remedy),
    };
    let Some((dtype, shape)) = array_dtype(ctype) else {
        let remedy = "give the members of its items by a type of your own".to_owned();
        return Err(wrong("an array of structs or pointers", remedy));
    };
    let count: usize = shape.iter().product();
    let size = count * dtype.itemsize();
    match argument {
        Arg::Text(text) if dtype.itemsize() == 1 && shape.len() == 1 => {
            if text.len() > size {
                let remedy = format!("give one of at most {size} bytes");
                return Err(wrong(&format!("a text of {} bytes", text.len()), remedy));
            }
            Ok(text.to_vec())
        }
        Arg::Slot(_) | Arg::Allocated(_) => {
            let allocated;
            let slot = match argument {
                Arg::Slot(slot) => slot,
                Arg::Allocated(array) => {
                    allocated = super::Slot::of_array(array, false);
                    &allocated
                }
                _ => return Ok(Vec::new()),
            };
            let HostValue::Array {
                memory,
                dtype: found,
            } = slot.value(Role::Result)
            else {
                return Ok(Vec::new());
            };
            let given: usize = memory.shape.iter().product();
            if found != Ok(&dtype) || given != count || !memory.is_contiguous {
                let remedy = format!("give {count} elements of {} in C order", dtype.name());
                return Err(wrong("another array", remedy));
            }
            // SAFETY: the argument borrows `count` elements of the dtype behind each other.
            let bytes = unsafe { std::slice::from_raw_parts(memory.address, size) };
            Ok(bytes.to_vec())
        }
        _ => {
            let remedy = format!("give {count} elements of {} in C order", dtype.name());
            Err(wrong("no array", remedy))
        }
    }
}
