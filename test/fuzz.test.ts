import { describe, it } from 'vitest'
import { FUZZ_KINDS, fuzzOne } from './fuzz.ts'

describe.each(FUZZ_KINDS)('random machines, %s', (kind) => {
  it('neither crash nor hang the model, the inspector and the drawings', () => {
    for (let seed = 1_000_000; seed < 1_000_060; seed++) fuzzOne(kind, seed)
  })
})
