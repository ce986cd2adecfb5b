import fc from 'fast-check'
import { expect, it, describe as suite } from 'vitest'
import {
  addr,
  decode,
  describe,
  encode,
  flag,
  layout,
  oneOf,
  setBits,
  uint,
  uncovered,
  wordsFromU64,
  wordsToU64,
} from './layout.ts'

const L = layout('L', 128, {
  V: flag(0, 'valid'),
  Mode: oneOf(3, 1, { 0: 'off', 4: 'on' }),
  Ptr: addr(55, 6, 'table'),
  Cross: uint(70, 56, 'crosses a word'),
  Wide: uint(127, 80, 'wide'),
})

suite('layout', () => {
  it('round-trips every value of every field', () => {
    fc.assert(
      fc.property(
        fc.nat(1),
        fc.nat(7),
        fc.bigInt({ min: 0n, max: (1n << 50n) - 1n }),
        fc.nat(0x7fff),
        fc.bigInt({ min: 0n, max: (1n << 48n) - 1n }),
        (V, Mode, ptr, Cross, Wide) => {
          const values = { V, Mode, Ptr: ptr << 6n, Cross, Wide }
          expect(decode(L, encode(L, values))).toEqual(values)
        },
      ),
    )
  })
  it('puts a field where the manual says', () => {
    expect(wordsToU64(encode(L, { V: 1, Mode: 4, Ptr: 0x12345678_00c0n, Cross: 0x7fff }))).toEqual([
      0xff00_1234_5678_00c9n,
      0x7fn,
    ])
  })
  it('refuses what does not fit, and names the field', () => {
    expect(() => encode(L, { Mode: 8 })).toThrow('L.Mode: 0x8 does not fit in 3 bits')
    expect(() => encode(L, { Ptr: 0x20n })).toThrow('L.Ptr: address 0x20 is not aligned to 64 bytes')
  })
  it('refuses a declaration whose fields overlap', () => {
    expect(() => layout('X', 32, { A: flag(3, ''), B: uint(4, 2, '') })).toThrow('X.B and X.A both have bit 3')
  })
  it('names values, and says reserved for those without a name', () => {
    const named = (value: number) => describe(L, encode(L, { Mode: value })).find((field) => field.name === 'Mode')?.means
    expect([named(0), named(4), named(5)]).toEqual(['off', 'on', 'reserved'])
  })
  it('knows the bits that no field covers', () => {
    expect(wordsToU64(uncovered(L))).toEqual([0x30n, 0xff80n])
  })
  it('decodes a structure in the middle of memory', () => {
    const memory = new Int32Array(8)
    memory.set(encode(L, { Cross: 0x1234, Wide: 0xffff_ffff_ffffn }), 3)
    expect(decode(L, memory, 3)).toMatchObject({ Cross: 0x1234, Wide: 0xffff_ffff_ffffn })
  })
  it('writes 32-bit fields that are not aligned', () => {
    const words = new Uint32Array(2)
    setBits(words, 47, 16, 0xdeadbeef)
    expect(wordsToU64(words)).toEqual([0x0000dead_beef0000n])
    expect(wordsToU64(wordsFromU64([0xffff_0000_1234_5678n]))).toEqual([0xffff_0000_1234_5678n])
  })
})
