import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, type Values } from '../../base/layout.ts'
import { SM_CONTEXT_ENTRY } from '../../format/vtd/contexts.ts'
import { CC_INV_DSC, IEC_INV_DSC, PAGE_GRP_RESP_DSC, TYPE_CONTEXT_CACHE } from '../../format/vtd/descriptors.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY } from '../../format/vtd/pasid.ts'
import { contextCacheDevice, deviceTlb, iotlbGlobal, pasidCache, pasidCacheGlobal, pasidIotlb, waitStatus } from './commands.ts'
import { PLAIN, System } from './system.suite.ts'

/** 16 MiB of guest memory at 0x8000_0000 of its own addresses, behind 0x6000_0000. */
const GUEST = 0x8000_0000
const HOST = 0x6000_0000
const NOT_MAPPED = 'SFS.2'

function guest() {
  const system = new System()
  const device = system.device(1, { ats: false, pri: false })
  const domain = system.domain('VM', 'nested', device)
  system.run(system.driver.pgtable(domain)!.map(BigInt(GUEST), BigInt(HOST), 0x100_0000n, 63))
  const write = (address: number, words: Uint32Array) =>
    words.forEach((word, index) => {
      system.memory.write32(HOST + address - GUEST + index * 4, word)
    })
  const entry = (values: Partial<Values<typeof PASID_ENTRY.fields>>) => encode(PASID_ENTRY, { P: 1, ...values })
  // The directory is at +0x1000, a table of PASIDs at +0x2000. PASID 0 leads to a 4-level table at +0x3000 that maps 1 GiB:
  // 0x4000_0000 → 0x8000_0000.
  write(GUEST + 0x1000, encode(PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(GUEST + 0x2000) }))
  write(GUEST + 0x2000, entry({ PGTT: 1, DID: 5, FSPTPTR: BigInt(GUEST + 0x3000) }))
  write(GUEST + 0x3000, Uint32Array.of(GUEST + 0x4000 + 7, 0))
  write(GUEST + 0x4000, Uint32Array.of(0, 0, GUEST + 0x87, 0))
  const context = encode(SM_CONTEXT_ENTRY, { P: 1, PASIDE: 1, PASIDDIRPTR: BigInt(GUEST + 0x1000) })
  const say = (...commands: Uint32Array[]) => system.run(system.driver.guestInvalidate(domain, commands))
  return { system, device, domain, context, write, entry, say }
}

describe('a guest', () => {
  it('sees its own addresses until it switches its first stage on; then both stages translate', () => {
    const { system, device, context } = guest()
    expect(device.dma(0x8000_5000n)).toBe(0x6000_5000n)
    system.run(system.driver.setGuestEntry(device, context))
    expect([device.dma(0x4000_5000n), device.dma(0x8000_5000n)]).toEqual([0x6000_5000n, NOT_MAPPED])
    // The guest's first stage maps it, our second stage does not.
    expect(device.dma(0x4100_0000n)).toBe('SSS.2')
    system.run(system.driver.setGuestEntry(device, null))
    expect(device.dma(0x8000_5000n)).toBe(0x6000_5000n)
  })
  it('has its PASID tables copied: what it changes counts when it says so', () => {
    const { system, device, context, write, entry, say } = guest()
    system.run(system.driver.setGuestEntry(device, context))
    expect(device.dma(0x4000_5000n, 3)).toBe('SPT.2')
    // PASID 3: pass-through of the guest is our second stage.
    write(GUEST + 0x2000 + 3 * 64, entry({ PGTT: 4, AW: 2 }))
    expect(device.dma(0x8000_5000n, 3)).toBe('SPT.2')
    say(pasidCache(5, 3))
    expect(device.dma(0x8000_5000n, 3)).toBe(0x6000_5000n)
    write(GUEST + 0x2000 + 3 * 64, new Uint32Array(16))
    expect(device.dma(0x8000_5000n, 3)).toBe(0x6000_5000n)
    say(pasidCacheGlobal())
    expect(device.dma(0x8000_5000n, 3)).toBe('SPT.2')
    // A table that comes later.
    write(GUEST + 0x1008, encode(PASID_DIR_ENTRY, { P: 1, SMPTBLPTR: BigInt(GUEST + 0x5000) }))
    write(GUEST + 0x5000, entry({ PGTT: 1, DID: 6, FSPTPTR: BigInt(GUEST + 0x3000) }))
    say(pasidCache(6, 64))
    expect(device.dma(0x4000_5000n, 64)).toBe(0x6000_5000n)
  })
  it('gets no address space for an entry that it may not have', () => {
    for (const wrong of [
      { PGTT: 2, AW: 2 },
      { PGTT: 3, AW: 2 },
      { PGTT: 7 },
      { PGTT: 1, SSPTPTR: 0x1000n },
      { PGTT: 1, CD: 1 },
    ]) {
      const { system, device, context, write, entry } = guest()
      write(GUEST + 0x2000, entry(wrong))
      system.run(system.driver.setGuestEntry(device, context))
      // Its only entry: there is nothing to copy, not even a table.
      expect(device.dma(0x4000_5000n)).toBe('SPD.2')
    }
  })
  it('keeps what it has when its context entry asks for what is not its own', () => {
    const { system, device, context } = guest()
    system.run(system.driver.setGuestEntry(device, context))
    for (const own of [{ RID_PASID: 1 }, { RID_PRIV: 1 }]) {
      const wrong = encode(SM_CONTEXT_ENTRY, { P: 1, ...own })
      expect(() => system.run(system.driver.setGuestEntry(device, wrong))).toThrow(/may set only/)
    }
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    system.run(system.driver.setGuestEntry(device, new Uint32Array(8)))
    expect(device.dma(0x4000_5000n)).toBe('SCT.2')
  })
  it('invalidates its own translations, and nobody else’s', () => {
    const { system, device, context, write, say } = guest()
    const other = system.device(9, PLAIN)
    system.run(system.driver.setGuestEntry(device, context))
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    write(GUEST + 0x4008, new Uint32Array(2))
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    say(pasidIotlb(5, 0))
    expect(device.dma(0x4000_5000n)).toBe(NOT_MAPPED)
    say(contextCacheDevice(1, 0), iotlbGlobal({ DR: 0, DW: 0 }), deviceTlb(1, 4, null))
    for (const [command, why] of [
      [contextCacheDevice(other.id, 0), /source-id 0x9 is not one of the guest's/],
      [deviceTlb(9, null, null), /source-id 0x9/],
      [encode(CC_INV_DSC, { TYPE: TYPE_CONTEXT_CACHE, G: 1 }), /names one/],
      [waitStatus(0x1000, 1), /inv_wait_dsc/],
      [encode(IEC_INV_DSC, { TYPE: 4 }), /iec_inv_dsc/],
      [encode(PAGE_GRP_RESP_DSC, { TYPE: 9 }), /page_grp_resp_dsc/],
    ] as const)
      expect(() => say(command)).toThrow(why)
  })
  it('loses what its host takes away, whatever was cached of both stages together', () => {
    const { system, device, domain, context } = guest()
    system.run(system.driver.setGuestEntry(device, context))
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    system.unmap(domain, 0x8000_5000n)
    expect([device.dma(0x4000_5000n), device.dma(0x4000_6000n)]).toEqual(['SSS.2', 0x6000_6000n])
  })
  it('has no say any more when its device goes to another domain', () => {
    const { system, device, context } = guest()
    system.run(system.driver.setGuestEntry(device, context))
    const other = system.domain('A', 'dma')
    system.attach(other, device)
    system.map(other, 0x1000n, 0x5000_0000n)
    expect([device.dma(0x1000n), device.dma(0x4000_5000n)]).toEqual([0x5000_0000n, NOT_MAPPED])
    expect(() => system.run(system.driver.setGuestEntry(device, context))).toThrow(/not in a nested domain/)
  })
  it('may write any bytes into its tables: the IOMMU never sees an entry with a reserved bit, nor one that leads out of our second stage', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer(), { minLength: 16, maxLength: 16 }),
        fc.array(fc.integer(), { minLength: 8, maxLength: 8 }),
        fc.boolean(),
        (words, commandWords, tidy) => {
          const { system, device, context, write, say } = guest()
          // Half of them with a form that is right, so that some of the rest gets through.
          const entry = Uint32Array.from(words)
          if (tidy) {
            entry[0] = 0x41
            entry.fill(0, 1, 4)
            entry.fill(0, 6)
          }
          write(GUEST + 0x2000, entry)
          system.run(system.driver.setGuestEntry(device, context))
          const got = device.dma(0x4000_5000n)
          if (typeof got === 'bigint') expect(got >= BigInt(HOST) && got < BigInt(HOST) + 0x100_0000n).toBe(true)
          else expect(['SPT.3', 'SPT.4']).not.toContain(got)
          try {
            say(Uint32Array.from(commandWords))
          } catch (error) {
            expect(error).toMatchObject({ code: 'BadArgument' })
          }
          expect(system.events()).not.toContain('IQE')
        },
      ),
      { numRuns: 60 },
    )
  })
})
