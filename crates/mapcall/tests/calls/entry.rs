//! Entries, called by a host language that this file makes: its numbers, arrays and functions.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mapcall::array::fork;
use mapcall::call::{
    ArrayObject, EntryResult, FunctionObject, Host, HostResults, IntegerObject, RealObject,
    ThreadState, errno_location,
};
use mapcall::contract::{Memory, QuickVectors, ShortFrame};
use mapcall::{Function, Library, Prototype};
use proptest::prelude::*;

use super::quick::Given;
use super::vectors::arguments;

/// The number of bytes of arrays from which a call is not usual.
const HELD_BELOW: usize = 1500;

const CONTIGUOUS: u32 = 1;
const WRITEABLE: u32 = 2;
const PRIVATE: u32 = 4;

/// What has become of a call.
#[derive(Debug, PartialEq)]
enum Taken {
    /// The function was called, with these slots.
    Call(Vec<u64>),
    /// The function was called, and its result made without a frame.
    Made,
    /// The call was left to the general function.
    None,
}

#[repr(C)]
struct Class {
    version: u32,
}

static REAL: Class = Class { version: 1 };
static INTEGER: Class = Class { version: 2 };
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
struct Int {
    class: &'static Class,
    value: i64,
}

#[repr(C)]
struct Array {
    class: &'static Class,
    dtype: usize,
    shape: *const usize,
    address: usize,
    ndim: c_int,
    flags: u32,
}

/// A function object, with what the entry has given to [`end`].
#[repr(C)]
struct Callable {
    address: *const c_void,
    held_below: usize,
    slots: usize,
    ended: Option<(Vec<u64>, c_int)>,
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

/// The `errno` and the result of the function that is called.
const ERRNO: c_int = 33;
const RESULT: f64 = 0.5;

extern "C" fn general(_: *const c_void, _: *const c_void, _: usize, _: *const c_void) -> u64 {
    GENERAL
}

unsafe extern "C" fn end(
    callable: *mut Callable,
    _: *const c_void,
    frame: *const u64,
    errno: c_int,
) -> u64 {
    // SAFETY: the entry passes the function object that it was called with, which nothing else uses.
    let callable = unsafe { &mut *callable };
    // SAFETY: the frame has the slots of the function's calls.
    let slots = unsafe { std::slice::from_raw_parts(frame, callable.slots) };
    callable.ended = Some((slots.to_vec(), errno));
    ENDED
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
        },
    }
}

type Entry = unsafe extern "C" fn(*mut Callable, *const usize, usize, *const c_void) -> u64;

/// An object for an argument.
enum Object {
    Real(Real),
    Int(Int),
    Array(Array),
}

impl Object {
    fn new(given: &Given, dtype: Option<&usize>, class: &'static Class) -> Self {
        match *given {
            Given::Real(value) => Self::Real(Real {
                class: &REAL,
                value,
            }),
            Given::Integer(value) => Self::Int(Int {
                class: &INTEGER,
                value,
            }),
            Given::Array(memory) => Self::Array(Array::new(&memory, *dtype.unwrap(), class)),
            Given::Text(_) => unreachable!("no prototype has a text"),
        }
    }

    fn address(&self) -> usize {
        match self {
            Self::Real(object) => address(object),
            Self::Int(object) => address(object),
            Self::Array(object) => address(object),
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
            address: memory.address.addr(),
            ndim: memory.shape.len().try_into().unwrap(),
            flags: PRIVATE
                | flag(memory.is_contiguous, CONTIGUOUS)
                | flag(memory.is_writeable, WRITEABLE),
        }
    }
}

/// Calls a function by its entry with objects for the arguments, whose arrays have these dtypes. `is_real` tells
/// whether the entry makes the result itself.
///
/// Each call is made twice: with arrays, and with objects of the derived class.
fn call(
    function: &Function,
    quick: &QuickVectors<usize>,
    given: &[Given],
    dtypes: &[usize],
    is_real: bool,
) -> Taken {
    let _calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let result = if is_real {
        EntryResult::Double
    } else {
        EntryResult::Other
    };
    let entry = function.compile_entry(quick, |dtype| *dtype, result, &host());
    let entry = entry.expect("the system compiles").as_ptr();
    // SAFETY: the code is that of an entry.
    let entry: Entry = unsafe { std::mem::transmute(entry) };
    let numbers = given.len() - dtypes.len();
    let [one, other] = [&ARRAY, &DERIVED].map(|class| {
        let object = |(index, given): (usize, &Given)| {
            let dtype = index.checked_sub(numbers).map(|index| &dtypes[index]);
            Object::new(given, dtype, class)
        };
        let objects: Vec<Object> = given.iter().enumerate().map(object).collect();
        let arguments: Vec<usize> = objects.iter().map(Object::address).collect();
        run(function, entry, &arguments, quick.sizes().1)
    });
    assert_eq!(one, other);
    let (object, ended, state) = one;
    assert_eq!((state.0, state.2), (0, false));
    match object {
        GENERAL => {
            assert_eq!((ended, state.1), (None, -1));
            Taken::None
        }
        ENDED => {
            let (mut slots, errno) = ended.unwrap();
            assert!(!is_real);
            assert_eq!((errno, state.1), (ERRNO, ERRNO));
            assert_eq!(slots.pop(), Some(RESULT.to_bits()));
            Taken::Call(slots)
        }
        object => {
            assert!(is_real);
            assert_eq!((object, ended, state.1), (RESULT.to_bits(), None, ERRNO));
            Taken::Made
        }
    }
}

/// What a call leaves: its object, what [`end`] got, and the thread's calls, `errno` and whether one has raised.
type Left = (u64, Option<(Vec<u64>, c_int)>, (usize, c_int, bool));

fn run(function: &Function, entry: Entry, arguments: &[usize], slots: usize) -> Left {
    run_in(function, entry, arguments, slots, |_| {})
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
    slots: usize,
    change: impl FnOnce(&mut Setting),
) -> Left {
    let mut setting = Setting {
        callable: Callable {
            address: function.address().as_ptr(),
            held_below: HELD_BELOW,
            slots,
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
    #![proptest_config(ProptestConfig::with_cases(300))]

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
        let dtypes: Vec<usize> = arguments.vectors.iter().map(|vector| vector.element).collect();
        let dtype = |position: usize| {
            let before = arguments.numbers.len() + usize::from(arguments.is_first);
            dtypes.get(position - before).copied()
        };
        let quick = QuickVectors::new(contract, dtype).unwrap();
        let mut frame = ShortFrame::default();
        let listed = QuickVectors::new(contract, |_| Some(())).unwrap();
        let nbytes = listed.fill(&mut frame, &given.iter().copied());
        let slots = frame.0[..contract.rules().len()].to_vec();
        let expected = match nbytes {
            Some(nbytes) if nbytes >= HELD_BELOW => Taken::None,
            Some(_) if is_real => Taken::Made,
            Some(_) => Taken::Call(slots),
            None => Taken::None,
        };
        prop_assert_eq!(call(&function, &quick, &given, &dtypes, is_real), expected, "{}", text);
    }
}

#[test]
fn calls_in_an_unusual_state_are_left_to_the_host_language() {
    let _calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let function = function("double f(double a)");
    let quick = QuickVectors::<usize>::new(function.contract(), |_| None).unwrap();
    let entry = function.compile_entry(&quick, |dtype| *dtype, EntryResult::Double, &host());
    // SAFETY: the code is that of an entry.
    let entry: Entry = unsafe { std::mem::transmute(entry.unwrap().as_ptr()) };
    let number = Object::new(&Given::Real(2.0), None, &ARRAY);
    let object = |change: fn(&mut Setting)| {
        let (object, ..) = run_in(&function, entry, &[number.address()], 2, change);
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
