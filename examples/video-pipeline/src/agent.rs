//! The agent: the embedded language model goes on with what a prompt says, and what it writes steers the pictures.

use std::sync::Arc;
use std::time::Instant;

use carnot_engine::{Event, TextEngine, TextRequest};
use carnot_formats::ModelFile;
use carnot_llm::{EngineOptions, LlmEngine};
use carnot_record::PipelineModel;

static EMBEDDED: &[u8] = include_bytes!("../../../models/embedded-q8_0.gguf");
/// Tokens that it writes for a prompt.
const TOKENS: usize = 12;

pub struct Agent {
    engine: LlmEngine,
    begun: Instant,
}

impl Agent {
    /// Loads the embedded model; `threads` compute.
    pub fn load(threads: usize) -> anyhow::Result<Self> {
        let options = EngineOptions {
            threads,
            context: 256,
            ..EngineOptions::default()
        };
        let file = ModelFile::from_gguf_bytes("embedded", EMBEDDED)?;
        Ok(Self {
            engine: LlmEngine::load(Arc::new(file), &options, |_, _| {})?,
            begun: Instant::now(),
        })
    }

    pub fn model(&self) -> PipelineModel {
        let info = self.engine.model();
        PipelineModel {
            name: info.name.clone(),
            kind: "llm".to_owned(),
            parameters: info.parameters,
        }
    }

    /// The scene of a prompt, in the model's words.
    pub fn scene(&mut self, prompt: &str) -> anyhow::Result<String> {
        let text = format!("# A film about {prompt}. What is seen:\nscene = \"");
        let request = TextRequest {
            prompt: self.engine.tokenizer().encode(&text, true)?,
            max_tokens: TOKENS,
            ignore_eos: true,
            ..TextRequest::default()
        };
        self.engine.submit(request, self.begun.elapsed())?;
        let (mut scene, mut events) = (String::new(), Vec::new());
        while !self.engine.is_idle() {
            self.engine.step(self.begun.elapsed(), &mut events)?;
            for event in events.drain(..) {
                match event {
                    Event::Token { text, .. } | Event::Finished { text, .. } => scene += &text,
                    _ => {}
                }
            }
        }
        Ok(scene)
    }
}

/// A text as a few numbers: how often the letters of it fall into each of `channels` heaps, and which.
pub fn condition(text: &str, channels: usize) -> Vec<f32> {
    let mut heaps = vec![0.0; channels];
    for (at, letter) in text.bytes().enumerate() {
        heaps[(usize::from(letter) + 7 * at) % channels] += 1.0;
    }
    let mean = text.len() as f32 / channels as f32;
    heaps.iter_mut().for_each(|heap| *heap -= mean);
    heaps
}
