import { describe, expect, it } from 'vitest'
import { type AddressContext, classifyAddress, isAmdInterruptAddress } from './address.ts'

const first = (address: bigint, context: AddressContext = {}) => classifyAddress(address, context)[0]?.kind

describe('kinds of addresses', () => {
  it.each<[string, bigint, AddressContext, string]>([
    ['a null pointer', 0x0n, {}, 'null'],
    ['an offset from one', 0xff8n, {}, 'null'],
    ['the top of 4 GiB', 0xfffff000n, {}, 'dma-api-32'],
    ['further down from it', 0xf1234000n, {}, 'dma-api-32'],
    ['the x86 interrupt range', 0xfee01000n, { arch: 'intel-vtd' }, 'x86-interrupt'],
    ['the same on Arm', 0xfee01000n, { arch: 'arm-smmuv3' }, 'dma-api-32'],
    ["AMD's interrupt range", 0xfdf8000020n, { arch: 'amd-vi' }, 'amd-interrupt'],
    ["AMD's interrupt range, sign-extended", 0xfffffffdf8000000n, { arch: 'amd-vi' }, 'amd-interrupt'],
    ["AMD's special ranges", 0xfe00000000n, { arch: 'amd-vi' }, 'amd-special'],
    ['a doorbell of an ITS', 0xffffe040n, { arch: 'arm-smmuv3', access: 'write' }, 'its-doorbell'],
    ['the same, read', 0xffffe040n, { arch: 'arm-smmuv3', access: 'read' }, 'dma-api-32'],
    ['the MSI window of VFIO', 0x08000040n, { arch: 'arm-smmuv2', access: 'read' }, 'msi-window'],
    ["a kernel's pointer", 0xffff888012345678n, { arch: 'intel-vtd' }, 'kernel-pointer'],
    ["a process's pointer", 0x7f81c968d000n, { pasid: 2 }, 'user-pointer'],
    ["a process's pointer without PASID", 0x7f81c968d000n, { pasid: null }, 'user-pointer'],
    ['memory of firmware', 0x76406000n, {}, 'below-4g'],
    ['the BIOS', 0xeb380n, {}, 'legacy-hole'],
    ['the top of 48 bits', 0xfffffffff000n, {}, 'dma-api-top'],
    ['more bits than there are', 0x8010000000003000n, {}, 'too-wide'],
    ['high memory', 0x135300000n, {}, 'above-4g'],
  ])('%s', (_, address, context, kind) => {
    expect(first(address, context)).toBe(kind)
  })

  it('a range that something names comes first', () => {
    const ranges = [{ first: 0x69400000n, last: 0x6b2fefffn, name: 'reserved', ram: false }]
    expect(first(0x69974000n, { ranges })).toBe('known-region')
    expect(first(0x6b2ff000n, { ranges })).toBe('below-4g')
  })

  it('every address has a kind, or several, with the rule that says so', () => {
    for (let bit = 0; bit < 64; bit++) {
      const kinds = classifyAddress(1n << BigInt(bit), { arch: 'intel-vtd' })
      expect(kinds.length).toBeGreaterThan(0)
      for (const { says, rule } of kinds) expect(says.length * rule.length).toBeGreaterThan(0)
    }
  })

  it("AMD's interrupt range ends where it ends", () => {
    expect([0xfdf7ffffffn, 0xfdf8000000n, 0xfdf8ffffffn, 0xfdf9000000n].map(isAmdInterruptAddress)).toEqual([
      false,
      true,
      true,
      false,
    ])
  })
})
