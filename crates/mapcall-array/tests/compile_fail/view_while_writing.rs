use mapcall_array::layout::Order;
use mapcall_array::{Array, DType};

fn main() {
    let mut array = Array::zeros(DType::F64, &[3], Order::C).unwrap();
    let pointer = array.ctypes().data_as::<f64>();
    array.view_mut::<f64>().unwrap().fill(1.0);
    println!("{pointer:?}");
}
