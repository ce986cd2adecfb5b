import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode } from '../../base/layout.ts'
import { G_PAGE, G_PASID_PAGE, IOTLB_INV_DSC, P_IOTLB_INV_DSC } from '../../format/vtd/descriptors.ts'
import { FSTS_IQE, GS_QIE, GS_RTP, REG } from '../../format/vtd/registers.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import type { DeviceMessage } from '../../model/iommu.ts'
import { VtdIommu } from '../../model/vtd/iommu.ts'
import { EVERYTHING } from '../common/power-of-two.ts'
import { descriptorName } from './command-queue.ts'
import {
  contextCacheDevice,
  contextCacheGlobal,
  deviceTlb,
  drainPageRequests,
  iotlbDomain,
  iotlbGlobal,
  iotlbPages,
  pageResponse,
  pasidCache,
  pasidCacheDomain,
  pasidCacheGlobal,
  pasidIotlb,
  pasidIotlbPages,
  waitStatus,
} from './commands.ts'

const DRAINING = { DR: 1, DW: 1 } as const

/** What an IOMMU in scalable mode makes of descriptors: its messages, whether it takes them all, and its memory. */
function executed(...commands: Uint32Array[]): { messages: DeviceMessage[]; legal: boolean; memory: PhysicalMemory } {
  const memory = new PhysicalMemory([{ start: 0x4000_0000, end: 0x4100_0000 }])
  const base = memory.allocate(4096)
  const iommu = new VtdIommu(memory)
  const messages: DeviceMessage[] = []
  iommu.onMessage = (message) => {
    messages.push(message)
    if (message.kind === 'invalidate') iommu.invalidationComplete(message.tag)
  }
  iommu.write(REG.RTADDR, 8, BigInt(memory.allocate(4096)) | (1n << 10n))
  iommu.write(REG.GCMD, 4, BigInt(GS_RTP))
  iommu.write(REG.IQA, 8, BigInt(base) | (1n << 11n))
  iommu.write(REG.GCMD, 4, BigInt(GS_QIE))
  commands.forEach((command, index) => {
    command.forEach((word, at) => {
      memory.write32(base + index * 32 + at * 4, word)
    })
  })
  iommu.write(REG.IQT, 4, BigInt(commands.length * 32))
  while (iommu.step());
  const legal = iommu.read(REG.IQH, 4) === BigInt(commands.length * 32) && (iommu.read(REG.FSTS, 4) & BigInt(FSTS_IQE)) === 0n
  return { messages, legal, memory }
}

const range = (most: number) =>
  fc
    .record({ size: fc.integer({ min: 0, max: most }), at: fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }) })
    .map(({ size, at }) => ({ address: BigInt.asUintN(64, (at >> BigInt(size)) << BigInt(size + 12)), size }))

describe('descriptors', () => {
  it('are legal, every one', () => {
    const pages = { address: 0x8000n, size: 3 }
    const all = [
      contextCacheGlobal(),
      contextCacheDevice(0x1234, 7),
      pasidCacheGlobal(),
      pasidCacheDomain(7),
      pasidCache(7, 0xfffff),
      iotlbGlobal(DRAINING),
      iotlbDomain(7, DRAINING),
      iotlbPages(7, pages, true, DRAINING),
      pasidIotlb(7, 0xfffff),
      pasidIotlbPages(7, 5, pages, false),
      deviceTlb(0x1234, null, null),
      deviceTlb(0x1234, 5, pages),
      pageResponse(0x1234, 5, 511, 'failure'),
      drainPageRequests(),
      waitStatus(0x4080_0000, 0xffff_ffff),
    ]
    const { legal, memory } = executed(...all)
    expect(legal).toBe(true)
    expect(memory.read32(0x4080_0000) >>> 0).toBe(0xffff_ffff)
    expect(all.map(descriptorName)).toEqual([
      ...['cc_inv_dsc', 'cc_inv_dsc', 'pc_inv_dsc', 'pc_inv_dsc', 'pc_inv_dsc'],
      ...['iotlb_inv_dsc', 'iotlb_inv_dsc', 'iotlb_inv_dsc', 'p_iotlb_inv_dsc', 'p_iotlb_inv_dsc'],
      ...['dev_tlb_inv_dsc', 'p_dev_tlb_inv_dsc', 'page_grp_resp_dsc', 'inv_wait_dsc', 'inv_wait_dsc'],
    ])
  })
  it('say what they are about', () => {
    const pages = { address: 0x8000n, size: 3 }
    expect(decode(IOTLB_INV_DSC, iotlbPages(9, pages, true, { DR: 0, DW: 1 }))).toMatchObject({
      G: G_PAGE,
      DID: 9,
      AM: 3,
      IH: 1,
      ADDR: 0x8000n,
      DR: 0,
      DW: 1,
    })
    expect(decode(P_IOTLB_INV_DSC, pasidIotlbPages(9, 0x54321, pages, false))).toMatchObject({
      G: G_PASID_PAGE,
      DID: 9,
      PASID: 0x54321,
      AM: 3,
      IH: 0,
      ADDR: 0x8000n,
    })
  })
  it('tell devices the very range, whatever its size', () => {
    fc.assert(
      fc.property(range(EVERYTHING - 1), fc.nat(0xffff), fc.option(fc.nat(0xfffff)), (given, device, pasid) => {
        const { messages } = executed(deviceTlb(device, pasid, given))
        const { address, size } = given
        expect(messages).toEqual([
          { kind: 'invalidate', device, pasid, address, bytes: 4096n << BigInt(size), tag: expect.any(Number) },
        ])
      }),
      { numRuns: 60 },
    )
    expect(executed(deviceTlb(9, null, null)).messages).toMatchObject([{ address: 0n, bytes: null, pasid: null }])
  })
  it('answer page requests', () => {
    for (const code of ['success', 'invalid', 'failure'] as const)
      expect(executed(pageResponse(0x0203, 5, 300, code)).messages).toEqual([
        { kind: 'page-response', device: 0x0203, pasid: 5, group: 300, code },
      ])
    expect(executed(pageResponse(1, null, 0, 'success')).messages).toMatchObject([{ pasid: null }])
  })
})
