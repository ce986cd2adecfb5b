/** `npm run fuzz -- [IMAGES] [FIRST SEED] [KIND]`: random machines, 100,000 by default; ends with 1 at the first that goes wrong. */
import { FUZZ_KINDS, fuzzOne } from './fuzz.ts'

const images = Number(process.argv[2] ?? 100_000)
const first = Number(process.argv[3] ?? 0)
const kinds = process.argv[4] === undefined ? FUZZ_KINDS : [process.argv[4]]
let slowest = { ms: 0, seed: 0, kind: '' }
let told = Date.now()
for (let index = 0; index < images; index++) {
  const kind = kinds[index % kinds.length]!
  const seed = first + index
  const start = Date.now()
  try {
    fuzzOne(kind, seed)
  } catch (error) {
    console.error(error)
    console.error(`seed ${seed}, ${kind}. Again: npm run fuzz -- 1 ${seed} ${kind}`)
    process.exit(1)
  }
  const ms = Date.now() - start
  if (ms > slowest.ms) slowest = { ms, seed, kind }
  if (Date.now() - told < 5000 && index + 1 < images) continue
  told = Date.now()
  console.error(
    `${(index + 1).toLocaleString('en')} of ${images.toLocaleString('en')} images; the slowest took ${slowest.ms} ms (seed ${slowest.seed}, ${slowest.kind})`,
  )
}
console.log(`${images} passed, 0 failed`)
