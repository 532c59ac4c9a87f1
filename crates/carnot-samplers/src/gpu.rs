//! Graphics processors, as NVML tells them through `nvidia-smi`, which comes with the driver: no library is linked, and none is looked for
//! where there is no such program.

use std::process::{Command, Stdio};

use crate::Error;

/// The program of the driver.
const PROGRAM: &str = "nvidia-smi";
const FIELDS: &str = "--query-gpu=name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw,\
    index,utilization.memory,clocks.gr,clocks.mem";
const FORM: &str = "--format=csv,noheader,nounits";

/// One graphics processor at a moment. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// By which the driver names it, from 0.
    pub index: u32,
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Of the last sampling period of the driver, the part in which a kernel ran.
    pub used: Option<f64>,
    /// Of the same period, the part in which its memory was read or written.
    pub memory_controller_used: Option<f64>,
    /// In use.
    pub memory_used_bytes: Option<u64>,
    /// That it has.
    pub memory_total_bytes: Option<u64>,
    /// Degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Watts.
    pub power_watts: Option<f64>,
    /// Megahertz of the shaders, now.
    pub graphics_clock_mhz: Option<f64>,
    /// Megahertz of the memory, now.
    pub memory_clock_mhz: Option<f64>,
}

/// Who is asked: nobody, where there is no driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    is_there: bool,
    /// Devices that are told of; all, where none are chosen.
    only: Option<Vec<u32>>,
}

impl Driver {
    /// Looks for the program once.
    pub fn find() -> Self {
        let mut driver = Self {
            is_there: true,
            only: None,
        };
        driver.is_there = !driver.read().is_empty();
        driver
    }

    /// Tells from now on of the devices of these numbers alone.
    ///
    /// # Errors
    /// [`Error::NoSuchGpu`] for the first number that the driver does not name.
    pub fn only(self, indexes: &[u32]) -> Result<Self, Error> {
        let all = Self { only: None, ..self };
        let there = all.read().iter().map(|gpu| gpu.index).collect();
        all.chosen(indexes, there)
    }

    fn chosen(self, indexes: &[u32], there: Vec<u32>) -> Result<Self, Error> {
        match indexes.iter().find(|index| !there.contains(index)) {
            Some(&index) => Err(Error::NoSuchGpu { index, there }),
            None => Ok(Self {
                only: Some(indexes.to_vec()),
                ..self
            }),
        }
    }

    /// The graphics processors that are watched, in the driver's order; none where there is no driver. It starts the driver's program,
    /// which takes some hundredths of a second.
    pub fn read(&self) -> Vec<Gpu> {
        if !self.is_there {
            return Vec::new();
        }
        let asked = Command::new(PROGRAM)
            .args([FIELDS, FORM])
            .stdin(Stdio::null())
            .output();
        match asked {
            Ok(told) if told.status.success() => {
                self.watched(parse(&String::from_utf8_lossy(&told.stdout)))
            }
            _ => Vec::new(),
        }
    }

    fn watched(&self, mut gpus: Vec<Gpu>) -> Vec<Gpu> {
        if let Some(only) = &self.only {
            gpus.retain(|gpu| only.contains(&gpu.index));
        }
        gpus
    }
}

/// A line for each: values apart by commas, and words such as `[N/A]` where there is none.
fn parse(text: &str) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let fields: Vec<&str> = line.split(", ").map(str::trim).collect();
        let [name, values @ ..] = fields.as_slice() else {
            return None;
        };
        let values: &[&str; 9] = values.try_into().ok()?;
        let [
            used,
            memory_used,
            memory_total,
            celsius,
            watts,
            index,
            controller,
            graphics,
            memory,
        ] = values.map(|value| value.parse::<f64>().ok());
        let mebibytes = |value: Option<f64>| value.map(|mebibytes| (mebibytes as u64) << 20);
        let share = |percent: Option<f64>| percent.map(|percent| percent / 100.0);
        Some(Gpu {
            index: index? as u32,
            name: (*name).to_owned(),
            used: share(used),
            memory_controller_used: share(controller),
            memory_used_bytes: mebibytes(memory_used),
            memory_total_bytes: mebibytes(memory_total),
            temperature_celsius: celsius,
            power_watts: watts,
            graphics_clock_mhz: graphics,
            memory_clock_mhz: memory,
        })
    };
    text.lines().filter_map(gpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "NVIDIA H100 80GB HBM3, 37, 1024, 81559, 41, 118.52, 0, 12, 1980, 2619\n\
        NVIDIA A, [N/A], [N/A], [N/A], 50, [Not Supported], 1, [N/A], [N/A], [N/A]\n\
        Failed to start\n";

    #[test]
    fn what_the_driver_does_not_tell_is_not_0() {
        let gpus = parse(TOLD);
        let all = Gpu {
            index: 0,
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            used: Some(0.37),
            memory_controller_used: Some(0.12),
            memory_used_bytes: Some(1 << 30),
            memory_total_bytes: Some(81559 << 20),
            temperature_celsius: Some(41.0),
            power_watts: Some(118.52),
            graphics_clock_mhz: Some(1980.0),
            memory_clock_mhz: Some(2619.0),
        };
        let little = Gpu {
            index: 1,
            name: "NVIDIA A".to_owned(),
            temperature_celsius: Some(50.0),
            ..Gpu::default()
        };
        assert_eq!(gpus, [all, little]);
    }

    #[test]
    fn devices_that_are_not_chosen_are_not_told_of() {
        let driver = Driver {
            is_there: true,
            only: None,
        };
        assert_eq!(driver.watched(parse(TOLD)).len(), 2);
        let chosen = driver.clone().chosen(&[1], vec![0, 1]).unwrap();
        let names: Vec<u32> = chosen
            .watched(parse(TOLD))
            .iter()
            .map(|gpu| gpu.index)
            .collect();
        assert_eq!(names, [1]);
        let missing = driver.chosen(&[1, 7], vec![0, 1]).unwrap_err();
        let told =
            "graphics processor 7: expected one of [0, 1], which are all that the driver names";
        assert_eq!(missing.to_string(), told);
    }

    #[test]
    fn where_there_is_no_driver_nobody_is_asked() {
        let none = Driver {
            is_there: false,
            only: None,
        };
        assert_eq!(none.read(), []);
        assert_eq!(
            none.only(&[0]),
            Err(Error::NoSuchGpu {
                index: 0,
                there: vec![]
            })
        );
    }
}
