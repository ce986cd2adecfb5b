/** Features for tests: everything, but for what a test says otherwise. */
import { encode, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import { type AmdFeatures, featuresOf } from './features.ts'
import { CONTROL, EXT_FEATURE, FULL_EXT_FEATURE } from './registers.ts'

type Efr = Parameters<typeof encode<typeof EXT_FEATURE.fields>>[1]
type Control = Parameters<typeof encode<typeof CONTROL.fields>>[1]

export function anyFeatures(efr: Efr = {}, control: Control = {}): AmdFeatures {
  const words = wordsFromU64([FULL_EXT_FEATURE])
  for (const [name, value] of Object.entries(efr)) {
    const { lsb, msb } = EXT_FEATURE.fields[name as keyof typeof EXT_FEATURE.fields]
    const mask = ((1n << BigInt(msb - lsb + 1)) - 1n) << BigInt(lsb)
    const whole = wordsToU64(words)[0]!
    words.set(wordsFromU64([(whole & ~mask) | (BigInt(value) << BigInt(lsb))]))
  }
  const set = wordsToU64(encode(CONTROL, { IommuEn: 1, GTEn: 1, HADUpdate: 3, ...control }))[0]!
  const given = wordsToU64(words)[0]!
  return featuresOf(hi32(given), lo32(given), hi32(set), lo32(set))
}
