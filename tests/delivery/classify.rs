const TOO_HOT: NamedOutput<Alert> = NamedOutput::new("too-hot");

#[derive(Event)]
struct Reading {
    celsius: f64,
}

#[derive(Event)]
struct Alert {
    sensor: String,
    celsius: f64,
}

struct Classify;

#[operator]
impl Process for Classify {
    const OUTPUTS: &'static [&'static dyn DeclaredOutput] = &[&TOO_HOT];
    type Config = NoConfig;
    type Event = Reading;
    type State = ();
    type Output = Reading;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Classify)
    }

    fn event(&mut self, reading: &Reading, key: &mut Context<'_, Self>) -> Result<()> {
        if reading.celsius > 90.0 {
            let sensor = key.key_str().into_owned();
            key.push_to(TOO_HOT, &Alert { sensor, celsius: reading.celsius })?;
        }
        key.push(reading)
    }
}
