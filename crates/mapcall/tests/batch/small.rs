//! Small batches: what they allocate, and which functions have them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;

use mapcall::batch::{Simd, SmallBatches};
use mapcall::contract::{Backing, Memory};
use mapcall::{Arg, Function};

use crate::fixture::Fixture;

/// The system's allocator, which counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all memory is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread may allocate while its thread-local values are being destroyed.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller guarantees a layout that is not empty.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller guarantees that the memory is one of `alloc` with that layout.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn memory<'a>(address: *mut f64, shape: &'a [usize], strides: &'a [isize]) -> Memory<'a> {
    Memory {
        address: address.cast(),
        shape,
        strides,
        is_contiguous: true,
        is_writeable: true,
        is_shared: false,
        backing: Backing::Private,
    }
}

/// Makes a small batch of `add`, and returns the number of allocations.
fn add(small: &SmallBatches<()>, function: &Function, [x, y, sums]: [&mut [f64; 16]; 3]) -> usize {
    let before = ALLOCATIONS.get();
    let arguments = [x, y].map(|x| memory(x.as_mut_ptr(), &[16], &[8]));
    let mut batch = small.begin();
    batch.fill(&arguments.into_iter(), None).unwrap();
    let time = small.time(function, batch.calls(), Simd::Off).unwrap();
    while let Some(output) = batch.output() {
        batch.place(&output, sums.as_mut_ptr().cast()).unwrap();
    }
    let loops = small.loops(function, &batch, Simd::Off).unwrap();
    // SAFETY: the arrays have 16 numbers, and no other code uses them.
    let (_, outcome) =
        unsafe { loops.run(function, &mut batch, time, || ControlFlow::Continue(())) };
    outcome.unwrap();
    ALLOCATIONS.get() - before
}

#[test]
fn nothing_is_allocated() {
    let fixture = Fixture::new();
    for function in fixture.engines("double add(double x, double y)") {
        let small = SmallBatches::new(&function, |_| Some(())).unwrap();
        let (mut x, mut y, mut sums) = ([1.0; 16], [2.0; 16], [0.0; 16]);
        // Another batch measures how long a call takes.
        let inputs = [Arg::from(&x), Arg::from(&y)];
        function
            .map(&inputs, &mut [Arg::from(&mut sums)])
            .run()
            .unwrap();
        assert_eq!(sums, [3.0; 16]);
        // The loop is looked up once.
        add(&small, &function, [&mut x, &mut y, &mut sums]);
        y[3] = 5.0;
        assert_eq!(add(&small, &function, [&mut x, &mut y, &mut sums]), 0);
        assert_eq!(sums[2..5], [3.0, 6.0, 3.0]);
    }
}
