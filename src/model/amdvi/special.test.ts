import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { INTERRUPT, kindOf, MEMORY, PORT_IO, RESERVED, SYSTEM_MANAGEMENT, withoutSpecial } from './special.ts'

const halves = (address: bigint) => [Number(BigInt.asIntN(32, address >> 32n)), Number(BigInt.asIntN(32, address))] as const
const kind = (address: bigint, ht = true) => kindOf(...halves(address), ht)

describe('AMD-Vi special addresses', () => {
  it.each([
    [0xfedf_ffffn, MEMORY],
    [0xfee0_0000n, INTERRUPT],
    [0xfeef_ffffn, INTERRUPT],
    [0xfef0_0000n, MEMORY],
    [0xfc_ffff_ffffn, MEMORY],
    [0xfd_0000_0000n, RESERVED],
    [0xfd_f7ff_ffffn, RESERVED],
    [0xfd_f800_0000n, INTERRUPT],
    [0xfd_f8ff_ffffn, INTERRUPT],
    [0xfd_f900_0000n, RESERVED],
    [0xfd_f910_0000n, SYSTEM_MANAGEMENT],
    [0xfd_f91f_ffffn, SYSTEM_MANAGEMENT],
    [0xfd_f920_0000n, RESERVED],
    [0xfd_fc00_0000n, PORT_IO],
    [0xfd_fdff_ffffn, PORT_IO],
    [0xfd_fe00_0000n, RESERVED],
    [0xfe_f800_0000n, RESERVED],
    [0xff_ffff_ffffn, RESERVED],
    [0x100_0000_0000n, MEMORY],
    [0xffff_ffff_fee0_0000n, MEMORY],
  ])('0x%x is of kind %i', (address, expected) => {
    expect(kind(address)).toBe(expected)
    if (address >= 1n << 32n) expect(kind(address, false)).toBe(MEMORY)
  })

  it('finds the largest block without them', () => {
    const specials = (ht: boolean): [bigint, bigint][] =>
      ht
        ? [
            [0xfee0_0000n, 0xfeef_ffffn],
            [0xfd_0000_0000n, 0xff_ffff_ffffn],
          ]
        : [[0xfee0_0000n, 0xfeef_ffffn]]
    const meets = (address: bigint, log2: number, ht: boolean) => {
      const first = (address >> BigInt(log2)) << BigInt(log2)
      return specials(ht).some(([from, to]) => first <= to && first + (1n << BigInt(log2)) > from)
    }
    const near = fc.constantFrom(0xfee0_0000n, 0xfef0_0000n, 0xfd_0000_0000n, 0x100_0000_0000n)
    const address = fc.oneof(
      fc.bigInt(0n, 2n ** 64n - 1n),
      fc.tuple(fc.nat(41), fc.bigInt(0n, 2n ** 42n)).map(([bits, value]) => value >> BigInt(41 - bits)),
      fc.tuple(near, fc.integer({ min: -0x20_0000, max: 0x20_0000 })).map(([at, offset]) => at + BigInt(offset)),
    )
    fc.assert(
      fc.property(address, fc.integer({ min: 12, max: 57 }), fc.boolean(), (at, log2, ht) => {
        fc.pre(kind(at, ht) === MEMORY)
        const size = withoutSpecial(...halves(at), log2, ht)
        expect(meets(at, size, ht)).toBe(false)
        if (size < log2) expect(meets(at, size + 1, ht)).toBe(true)
      }),
    )
  })
})
