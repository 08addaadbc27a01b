use mapcall_array::layout::Order;
use mapcall_array::{Array, DType};

fn main() {
    let pointer = {
        let array = Array::zeros(DType::F64, &[3], Order::C).unwrap();
        array.ctypes().data_as::<f64>()
    };
    println!("{pointer:?}");
}
