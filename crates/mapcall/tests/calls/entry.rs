//! Entries, called by a host language that this file makes: its numbers, arrays and functions.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mapcall::array::fork;
use mapcall::call::{
    ArrayObject, EntryNumber, EntryResult, FunctionObject, Host, HostResults, IntegerObject,
    RealObject, ThreadState, errno_location,
};
use mapcall::contract::{Contract, Memory, QuickVectors, Role, ShortFrame};
use mapcall::{Function, Library, Prototype};
use proptest::prelude::*;

use super::quick::{Given, START, cases, quickly, values};
use super::vectors::arguments;

/// The number of bytes of arrays from which a call is not usual.
const HELD_BELOW: usize = 1500;

const CONTIGUOUS: u32 = 1;
const WRITEABLE: u32 = 2;
const PRIVATE: u32 = 4;

/// What has become of a call.
#[derive(Debug, PartialEq)]
enum Taken {
    /// The function was called, with these values of its parameters.
    Call(Vec<u64>),
    /// The function was called, and its result made by the entry.
    Made,
    /// The call was left to the general function.
    None,
}

/// The arrays that were made for outputs: the shape, and whether it is in Fortran order.
type Outputs = Vec<(Vec<usize>, bool)>;

#[repr(C)]
struct Class {
    version: u32,
}

static REAL: Class = Class { version: 1 };
static INTEGER: Class = Class { version: 2 };
/// A class that no entry knows.
static TEXT: Class = Class { version: 0 };
static ARRAY: Class = Class { version: 3 };
/// A class derived from that of arrays.
static DERIVED: Class = Class { version: 4 };
static DERIVED_VERSION: u32 = 4;

#[repr(C)]
struct Real {
    class: &'static Class,
    value: f64,
}

#[repr(C)]
struct Text {
    class: &'static Class,
}

#[repr(C)]
struct Int {
    class: &'static Class,
    value: i64,
}

#[repr(C)]
struct Array {
    class: &'static Class,
    dtype: usize,
    shape: *const usize,
    strides: *const isize,
    address: usize,
    ndim: c_int,
    flags: u32,
}

/// A function object, with what the entry has given to [`end`].
#[repr(C)]
struct Callable {
    address: *const c_void,
    held_below: usize,
    function: *const Function,
    ended: Option<Ended>,
}

/// What an entry gives to [`end`]: the values of the parameters, the result, the outputs, and `errno`.
#[derive(Clone, Debug, PartialEq)]
struct Ended {
    values: Vec<u64>,
    result: u64,
    outputs: usize,
    errno: c_int,
}

/// The state of a thread.
#[repr(C)]
struct State {
    innermost: usize,
    running: usize,
    errno: c_int,
    has_raised: bool,
}

/// The thread that called last.
struct Latest {
    errno: AtomicPtr<c_int>,
    generation: AtomicUsize,
    state: AtomicPtr<State>,
}

static LATEST: Latest = Latest {
    errno: AtomicPtr::new(ptr::null_mut()),
    generation: AtomicUsize::new(0),
    state: AtomicPtr::new(ptr::null_mut()),
};

/// A lock for [`LATEST`].
static CALLS: Mutex<()> = Mutex::new(());

/// The results of calls, as objects.
const GENERAL: u64 = 1;
const ENDED: u64 = 2;
const TUPLE: u64 = 1 << 32;

/// More outputs than any prototype has.
const MOST: usize = 100;

/// The `errno` and the result of the function that is called.
const ERRNO: c_int = 33;
const RESULT: f64 = 0.5;

extern "C" fn general(_: *const c_void, _: *const c_void, _: usize, _: *const c_void) -> u64 {
    GENERAL
}

unsafe extern "C" fn end(
    callable: *mut Callable,
    _: *const c_void,
    _: usize,
    frame: *const u64,
    outputs: *const *const Array,
    errno: c_int,
) -> u64 {
    // SAFETY: the entry passes the function object that it was called with, which nothing else uses.
    let callable = unsafe { &mut *callable };
    // SAFETY: the test keeps the function.
    let function = unsafe { &*callable.function };
    let layout = function.trampoline().layout();
    // SAFETY: the frame has the slots of the function's calls.
    let slots = unsafe { std::slice::from_raw_parts(frame, layout.slots()) };
    // SAFETY: null follows the outputs.
    let is_output = |index: &usize| unsafe { !(*outputs.add(*index)).is_null() };
    callable.ended = Some(Ended {
        values: values(function.contract(), slots),
        result: slots[layout.result()],
        outputs: (0..MOST).take_while(is_output).count(),
        errno,
    });
    ENDED
}

thread_local! {
    static OUTPUTS: RefCell<Outputs> = const { RefCell::new(Vec::new()) };
}

/// Makes an object for an output. Its memory is never used.
unsafe extern "C" fn zeros(
    dtype: usize,
    shape: *const usize,
    ndim: usize,
    is_column_major: usize,
) -> *const Array {
    // SAFETY: the entry passes `ndim` lengths.
    let shape = unsafe { std::slice::from_raw_parts(shape, ndim) };
    OUTPUTS.with_borrow_mut(|outputs| outputs.push((shape.to_vec(), is_column_major != 0)));
    Box::leak(Box::new(Array {
        class: &ARRAY,
        dtype,
        shape: ptr::null(),
        strides: ptr::null(),
        address: START,
        ndim: 0,
        flags: 0,
    }))
}

/// Returns the number of objects as a tuple of them.
extern "C" fn tuple(_: *const u64, count: usize) -> u64 {
    TUPLE + count as u64
}

unsafe extern "C" fn read(object: *const Int, overflow: *mut c_int) -> i64 {
    // SAFETY: the entry has compared the class of the object, and gives a place for the overflow.
    unsafe {
        *overflow = 0;
        (*object).value
    }
}

extern "C" fn real(value: f64) -> u64 {
    value.to_bits()
}

/// The function that is called, for all prototypes.
extern "C" fn target() -> f64 {
    // SAFETY: the location is that of this thread.
    unsafe { errno_location().unwrap().write(ERRNO) };
    RESULT
}

/// Binds a prototype to [`target`].
fn function(prototype: &str) -> Function {
    let prototype = Prototype::parse(prototype).unwrap();
    let address = NonNull::new(target as *mut c_void).unwrap();
    // SAFETY: the function reads none of its arguments.
    unsafe { Library::process().unwrap().bind_address(prototype, address) }.unwrap()
}

fn address<T>(of: &T) -> usize {
    ptr::from_ref(of).expose_provenance()
}

fn host() -> Host {
    Host {
        class: 0,
        real: RealObject {
            class: address(&REAL),
            value: offset_of!(Real, value),
        },
        integer: IntegerObject {
            class: address(&INTEGER),
            read: read as *const () as usize,
        },
        array: ArrayObject {
            class: address(&ARRAY),
            version: offset_of!(Class, version),
            other_version: address(&DERIVED_VERSION),
            dtype: offset_of!(Array, dtype),
            ndim: offset_of!(Array, ndim),
            flags: offset_of!(Array, flags),
            is_contiguous: CONTIGUOUS,
            is_writeable: WRITEABLE,
            is_private: PRIVATE,
            address: offset_of!(Array, address),
            shape: offset_of!(Array, shape),
            strides: offset_of!(Array, strides),
            zeros: zeros as *const () as usize,
        },
        function: FunctionObject {
            address: offset_of!(Callable, address),
            held_below: offset_of!(Callable, held_below),
            count: u64::MAX >> 1,
            general: general as *const () as usize,
            end: end as *const () as usize,
        },
        thread: ThreadState {
            latest_errno: address(&LATEST.errno),
            latest: address(&LATEST.state),
            latest_generation: address(&LATEST.generation),
            running: offset_of!(State, running),
            errno: offset_of!(State, errno),
            has_raised: offset_of!(State, has_raised),
            innermost: offset_of!(State, innermost),
        },
        results: HostResults {
            none: 0,
            references: None,
            real: real as *const () as usize,
            signed: 0,
            unsigned: 0,
            tuple: tuple as *const () as usize,
        },
    }
}

type Entry = unsafe extern "C" fn(*mut Callable, *const usize, usize, *const c_void) -> u64;

/// An object for an argument.
enum Object {
    Real(Real),
    Int(Int),
    Array(Array),
    Text(Text),
}

impl Object {
    fn new(given: &Given, dtype: usize, class: &'static Class) -> Self {
        match *given {
            Given::Real(value) => Self::Real(Real {
                class: &REAL,
                value,
            }),
            Given::Integer(value) => Self::Int(Int {
                class: &INTEGER,
                value,
            }),
            Given::Array(memory) => Self::Array(Array::new(&memory, dtype, class)),
            Given::Text(_) => Self::Text(Text { class: &TEXT }),
        }
    }

    fn address(&self) -> usize {
        match self {
            Self::Real(object) => address(object),
            Self::Int(object) => address(object),
            Self::Array(object) => address(object),
            Self::Text(object) => address(object),
        }
    }
}

impl Array {
    fn new(memory: &Memory, dtype: usize, class: &'static Class) -> Self {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        Self {
            class,
            dtype,
            shape: memory.shape.as_ptr(),
            strides: memory.strides.as_ptr(),
            address: memory.address.addr(),
            ndim: memory.shape.len().try_into().unwrap(),
            flags: PRIVATE
                | flag(memory.is_contiguous, CONTIGUOUS)
                | flag(memory.is_writeable, WRITEABLE),
        }
    }
}

/// Calls a function by its entry with objects for the arguments; `dtypes` are those of its arrays. Returns the arrays
/// that were made for outputs, too; `None` if there is no entry for such calls.
///
/// Each call is made with arrays, and with objects of the derived class.
fn call(
    function: &Function,
    given: &[Given],
    dtype: impl Fn(usize) -> usize,
    result: EntryResult,
) -> Option<(Taken, Outputs)> {
    let _calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let contract = function.contract();
    let of_parameter = |position| Some(dtype(position));
    let entry = function.compile_entry(given.len(), of_parameter, result, &host())?;
    // SAFETY: the code is that of an entry.
    let entry: Entry = unsafe { std::mem::transmute(entry.as_ptr()) };
    let arguments = contract.arguments().iter();
    let is_given = |position: &&usize| {
        given.len() == contract.arguments().len() || !contract.is_optional(**position)
    };
    let positions: Vec<usize> = arguments.filter(is_given).copied().collect();
    let [one, other] = [&ARRAY, &DERIVED].map(|class| {
        let objects = positions.iter().zip(given);
        let object =
            |(position, given): (&usize, &Given)| Object::new(given, dtype(*position), class);
        let objects: Vec<Object> = objects.map(object).collect();
        let arguments: Vec<usize> = objects.iter().map(Object::address).collect();
        (run(function, entry, &arguments), OUTPUTS.take())
    });
    assert_eq!(one, other);
    let ((object, ended, state), outputs) = one;
    assert_eq!((state.0, state.2), (0, false));
    let taken = match object {
        GENERAL => {
            assert_eq!((ended, state.1), (None, -1));
            Taken::None
        }
        ENDED => {
            let ended = ended.unwrap();
            assert_eq!(result, EntryResult::Other);
            assert_eq!((ended.errno, state.1), (ERRNO, ERRNO));
            assert_eq!(
                (ended.result, ended.outputs),
                (RESULT.to_bits(), outputs.len())
            );
            Taken::Call(ended.values)
        }
        object => {
            assert_eq!(
                (result, ended, state.1),
                (EntryResult::Number(EntryNumber::Double), None, ERRNO)
            );
            let expected = match outputs.len() {
                0 => RESULT.to_bits(),
                count => TUPLE + 1 + count as u64,
            };
            assert_eq!(object, expected);
            Taken::Made
        }
    };
    Some((taken, outputs))
}

/// What a call leaves: its object, what [`end`] got, and the thread's calls, `errno` and whether one has raised.
type Left = (u64, Option<Ended>, (usize, c_int, bool));

fn run(function: &Function, entry: Entry, arguments: &[usize]) -> Left {
    run_in(function, entry, arguments, |_| {})
}

/// What a call is made with, which a test may change.
struct Setting {
    callable: Callable,
    state: State,
    errno: *mut c_int,
    generation: usize,
    count: usize,
    keywords: *const c_void,
}

fn run_in(
    function: &Function,
    entry: Entry,
    arguments: &[usize],
    change: impl FnOnce(&mut Setting),
) -> Left {
    let mut setting = Setting {
        callable: Callable {
            address: function.address().as_ptr(),
            held_below: HELD_BELOW,
            function,
            ended: None,
        },
        state: State {
            innermost: 0,
            running: 0,
            errno: -1,
            has_raised: false,
        },
        errno: errno_location().unwrap().as_ptr(),
        generation: fork::generation(),
        count: arguments.len(),
        keywords: ptr::null(),
    };
    change(&mut setting);
    LATEST.errno.store(setting.errno, Ordering::Relaxed);
    LATEST
        .generation
        .store(setting.generation, Ordering::Relaxed);
    LATEST
        .state
        .store(&raw mut setting.state, Ordering::Relaxed);
    // SAFETY: the objects are laid out as the entry was told, and the function reads none of them.
    let object = unsafe {
        entry(
            &raw mut setting.callable,
            arguments.as_ptr(),
            setting.count,
            setting.keywords,
        )
    };
    let state = &setting.state;
    let left = (state.running, state.errno, state.has_raised);
    (object, setting.callable.ended, left)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_entry_takes_what_the_list_takes(arguments in arguments(), is_real in any::<bool>()) {
        let text = arguments.prototype();
        let (shapes, strides) = (arguments.shapes(), arguments.strides());
        let given = arguments.given(&shapes, &strides, |kind, value| match (kind, value) {
            ("float" | "double", 300..) => Given::Real(1e300),
            ("float" | "double", ..-4) => Given::Real(f64::NEG_INFINITY),
            ("float" | "double", ..0) => Given::Real(f64::NAN),
            // An entry leaves integers for these to the list.
            ("float" | "double", _) => Given::Real(value as f64 + 0.1),
            _ => Given::Integer(value),
        });
        let function = function(&text);
        let contract = function.contract();
        let first = arguments.numbers.len() + usize::from(arguments.is_first);
        let dtype = |position: usize| {
            let index = position.checked_sub(first);
            index.map_or(0, |index| arguments.vectors[index].element)
        };
        let quick = QuickVectors::new(contract, |_| Some(())).unwrap();
        let mut frame = ShortFrame::default();
        let nbytes = quick.fill(&mut frame, &given.iter().copied());
        let slots = frame.0[..contract.rules().len()].to_vec();
        let expected = match nbytes {
            Some(nbytes) if nbytes >= HELD_BELOW => Taken::None,
            Some(_) if is_real => Taken::Made,
            Some(_) => Taken::Call(slots),
            None => Taken::None,
        };
        let result = if is_real { EntryResult::Number(EntryNumber::Double) } else { EntryResult::Other };
        let taken = call(&function, &given, dtype, result);
        // Arrays without elements are left to the list if they are not aligned.
        if !(arguments.length == 0 && matches!(taken, Some((Taken::None, _)))) {
            prop_assert_eq!(taken, Some((expected, Vec::new())), "{}", text);
        }
    }

    #[test]
    fn an_entry_derives_what_the_quick_check_derives(case in cases(), is_real in any::<bool>()) {
        let text = case.prototype();
        let Ok(contract) = Contract::new(Prototype::parse(&text).unwrap()) else {
            return Ok(());
        };
        let layouts = case.layouts();
        let given = case.arguments(&contract, &layouts);
        let Some(quickly) = quickly(&contract, &given) else {
            return Ok(());
        };
        let function = function(&text);
        let arguments: Vec<_> = given.iter().flatten().copied().collect();
        let result = if is_real { EntryResult::Number(EntryNumber::Double) } else { EntryResult::Other };
        let Some((taken, made)) = call(&function, &arguments, |_| 1, result) else {
            return Ok(());
        };
        match (taken, quickly) {
            (Taken::None, None) => prop_assert_eq!(made, []),
            (Taken::None, Some((_, nbytes, _))) => {
                // Empty arrays and texts are left to the list, and large arrays release the lock.
                let is_empty = layouts.iter().any(|(shape, _)| shape.contains(&0));
                let has_text = arguments.iter().any(|given| matches!(given, Given::Text(_)));
                prop_assert!(is_empty || has_text || nbytes >= HELD_BELOW, "{}", text);
            }
            (taken, Some((mut values, _, outputs))) => {
                let outputs = outputs.iter();
                let expected: Outputs = outputs
                    .map(|output| {
                        let Role::Parameter(position) = output.role else { unreachable!() };
                        // The address of an output is not known to the check.
                        values[position] = START as u64;
                        (output.shape.to_vec(), output.is_column_major)
                    })
                    .collect();
                prop_assert_eq!(made, expected, "{}", text);
                let expected = if is_real { Taken::Made } else { Taken::Call(values) };
                prop_assert_eq!(taken, expected, "{}", text);
            }
            (taken, None) => prop_assert!(false, "{}: {:?}", text, taken),
        }
    }
}

#[test]
fn calls_in_an_unusual_state_are_left_to_the_host_language() {
    let _calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let function = function("double f(double a)");
    let entry = function.compile_entry(
        1,
        |_| None,
        EntryResult::Number(EntryNumber::Double),
        &host(),
    );
    // SAFETY: the code is that of an entry.
    let entry: Entry = unsafe { std::mem::transmute(entry.unwrap().as_ptr()) };
    let number = Object::new(&Given::Real(2.0), 0, &ARRAY);
    let object = |change: fn(&mut Setting)| {
        let (object, ..) = run_in(&function, entry, &[number.address()], change);
        object
    };

    assert_eq!(object(|_| {}), RESULT.to_bits());
    // The highest bit does not count.
    assert_eq!(object(|it| it.count |= 1 << 63), RESULT.to_bits());
    for change in [
        |it: &mut Setting| it.count = 0,
        |it: &mut Setting| it.count = 2,
        |it: &mut Setting| it.keywords = ptr::dangling(),
        |it: &mut Setting| it.errno = ptr::null_mut(),
        |it: &mut Setting| it.generation += 1,
        |it: &mut Setting| it.state.innermost = 1,
    ] {
        assert_eq!(object(change), GENERAL);
    }
    assert_eq!(object(|it| it.state.has_raised = true), ENDED);
}
