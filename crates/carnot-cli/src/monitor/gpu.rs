//! Graphics processors, as NVML tells them through `nvidia-smi`, which comes with the driver: no library is linked, and none is looked for
//! where there is no such program.

use std::process::{Command, Stdio};

/// The program of the driver.
const PROGRAM: &str = "nvidia-smi";
const FIELDS: &str =
    "--query-gpu=name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw";
const FORM: &str = "--format=csv,noheader,nounits";

/// One graphics processor at a moment. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Of the last sampling period of the driver, the part in which a kernel ran.
    pub used: Option<f64>,
    /// In use.
    pub memory_used_bytes: Option<u64>,
    /// That it has.
    pub memory_total_bytes: Option<u64>,
    /// Degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Watts.
    pub power_watts: Option<f64>,
}

/// Who is asked: nobody, where there is no driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    is_there: bool,
}

impl Driver {
    /// Looks for the program once.
    pub fn find() -> Self {
        let mut driver = Self { is_there: true };
        driver.is_there = !driver.read().is_empty();
        driver
    }

    /// All graphics processors, in the driver's order; none where there is no driver.
    pub fn read(self) -> Vec<Gpu> {
        if !self.is_there {
            return Vec::new();
        }
        let asked = Command::new(PROGRAM)
            .args([FIELDS, FORM])
            .stdin(Stdio::null())
            .output();
        match asked {
            Ok(told) if told.status.success() => parse(&String::from_utf8_lossy(&told.stdout)),
            _ => Vec::new(),
        }
    }
}

/// A line for each: values apart by commas, and words such as `[N/A]` where there is none.
fn parse(text: &str) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let fields: Vec<&str> = line.split(", ").map(str::trim).collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let mebibytes = |index: usize| number(index).map(|mebibytes| (mebibytes as u64) << 20);
        let [name, _, _, _, _, _] = fields.as_slice() else {
            return None;
        };
        Some(Gpu {
            name: (*name).to_owned(),
            used: number(1).map(|percent| percent / 100.0),
            memory_used_bytes: mebibytes(2),
            memory_total_bytes: mebibytes(3),
            temperature_celsius: number(4),
            power_watts: number(5),
        })
    };
    text.lines().filter_map(gpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_does_not_tell_is_not_0() {
        let told = "NVIDIA H100 80GB HBM3, 37, 1024, 81559, 41, 118.52\nNVIDIA A, [N/A], [N/A], [N/A], 50, [Not Supported]\nFailed to start\n";
        let gpus = parse(told);
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].name, "NVIDIA H100 80GB HBM3");
        assert_eq!(gpus[0].used, Some(0.37));
        assert_eq!(gpus[0].memory_used_bytes, Some(1 << 30));
        assert_eq!(gpus[0].memory_total_bytes, Some(81559 << 20));
        assert_eq!(gpus[0].power_watts, Some(118.52));
        assert_eq!((gpus[1].used, gpus[1].memory_total_bytes), (None, None));
        assert_eq!(gpus[1].temperature_celsius, Some(50.0));
        assert_eq!(gpus[1].power_watts, None);
    }
}
