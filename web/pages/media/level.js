// How loud a microphone is, for a meter.

const EVERY_MS = 80;
const SILENCE_DB = -60;

/**
 * Measure *track* until the returned function is called.
 * @param {MediaStreamTrack} track
 * @param {(level: number) => void} heard 0 silent to 1 loudest
 * @returns {() => void}
 */
export function watchLevel(track, heard) {
  const context = new AudioContext();
  // Before the first gesture some browsers start it suspended.
  const wake = () => void context.resume().catch(() => {});
  wake();
  addEventListener("pointerdown", wake);
  addEventListener("keydown", wake);
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  const source = context.createMediaStreamSource(new MediaStream([track]));
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    heard(levelOf(samples));
  }, EVERY_MS);
  return () => {
    clearInterval(timer);
    removeEventListener("pointerdown", wake);
    removeEventListener("keydown", wake);
    source.disconnect();
    void context.close().catch(() => {});
  };
}

/**
 * @param {Float32Array} samples
 * @returns {number} root mean square on a scale of decibels, 0 to 1
 */
export function levelOf(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const db = 10 * Math.log10(sum / samples.length + 1e-12);
  return Math.min(1, Math.max(0, 1 - db / SILENCE_DB));
}
