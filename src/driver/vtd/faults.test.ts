import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import { FAULT_REASONS } from '../../format/vtd/faults.ts'
import { FAULT_RECORD } from '../../format/vtd/records.ts'
import { pageRequest } from '../common/behaviours.suite.ts'
import { decodeFault } from './faults.ts'
import { PLAIN, System } from './system.suite.ts'

const NOT_MAPPED = 'SFS.2'

describe('fault records', () => {
  it('become reports with every word of the record', () => {
    const system = new System()
    system.domain('A', 'dma', system.device(0x102, { ats: false, pri: false }))
    system.model.translate({ device: 0x102, pasid: 9, iova: 0x1234_5678n, access: 'write', privileged: true })
    expect(system.events()).toEqual(['SPT.2'])
    expect(system.faults[0]).toMatchObject({ device: 0x102, pasid: 9, address: 0x1234_5000n, code: 0x59 })
    expect(system.faults[0]!.record).toHaveLength(2)
    expect(system.faults[0]!.text).toBe(
      'SPT.2 (fault reason 0x59): PASID table entry is not present; source-id 0x102, PASID 0x9, untranslated write at 0x12345000',
    )
  })
  it('have a name for every reason, and for others their number', () => {
    for (const { code, name } of FAULT_REASONS) expect(decodeFault(encode(FAULT_RECORD, { F: 1, FR: code })).name).toBe(name)
    expect(decodeFault(encode(FAULT_RECORD, { F: 1, FR: 0xee })).name).toBe('fault reason 0xee')
  })
  it('of interrupts have an index, and no address', () => {
    const report = decodeFault(encode(FAULT_RECORD, { F: 1, FR: 0x22, SID: 0x10, FI: 0x7_0000_0000_0000n }))
    expect(report).toMatchObject({ address: null, device: 0x10 })
    expect(report.text).toMatch(/interrupt index 7$/)
  })
  it('come out of the registers in order, again and again around their end, each once', () => {
    const system = new System({}, { cap: { NFR: 2 } })
    const device = system.device(1, PLAIN)
    system.domain('A', 'dma', device)
    for (let turn = 0; turn < 4; turn++) {
      for (let fault = 0; fault < 2; fault++) device.dma(BigInt(turn * 2 + fault) << 12n)
      expect(system.events()).toEqual([NOT_MAPPED, NOT_MAPPED])
      expect(system.faults.map(({ address }) => address)).toEqual([BigInt(turn * 2) << 12n, BigInt(turn * 2 + 1) << 12n])
      expect(system.events()).toEqual([])
    }
  })
  it('that were lost are told, and later ones come through again', () => {
    const system = new System({}, { cap: { NFR: 1 } })
    const device = system.device(1, PLAIN)
    system.domain('A', 'dma', device)
    for (let turn = 0; turn < 4; turn++) device.dma(0x1000n)
    expect(system.events()).toEqual([NOT_MAPPED, NOT_MAPPED, 'PFO'])
    device.dma(0x1000n)
    expect(system.events()).toEqual([NOT_MAPPED])
  })
  it('interrupt again after they were read', () => {
    const system = new System()
    const { faults, signals } = system.faultsInTurns()
    expect(faults).toEqual(Array(3).fill(`${NOT_MAPPED},${NOT_MAPPED}`))
    expect(signals).toEqual(['fault-event', 'fault-event', 'fault-event'])
  })
})

describe('page requests', () => {
  /** Two devices whose PASID 3 leads somewhere. */
  function system() {
    const made = new System()
    const [a, b] = [made.device(1), made.device(2, { responseNeedsPasid: false })]
    const domain = made.domain('A', 'dma', a, b)
    made.bind(domain, 3, null)
    return { made, a, b }
  }
  it('are passed on in order, stop markers too, and answered with the PASID where the device needs it', () => {
    const { made, a, b } = system()
    made.model.pageRequest(pageRequest(a, 5, { last: false }))
    made.model.pageRequest(pageRequest(b, 6, { write: true, read: false, privileged: true }))
    made.model.pageRequest(pageRequest(a, 0, { read: false }))
    expect(made.events()).toEqual([])
    expect(made.requests).toMatchObject([
      { device: 1, pasid: 3, group: 5, last: false, read: true, address: 0x7000n, stallTag: null },
      { device: 2, group: 6, write: true, privileged: true },
      { device: 1, last: true, read: false, write: false },
    ])
    const code = 'success' as const
    made.run(made.driver.pageResponse({ device: a, pasid: 3, group: 5, stallTag: null, code }))
    made.run(made.driver.pageResponse({ device: b, pasid: 3, group: 6, stallTag: null, code }))
    while (made.model.step());
    expect([a.messages, b.messages]).toMatchObject([[{ group: 5, pasid: 3, code }], [{ group: 6, pasid: null, code }]])
  })
  it('that were lost are told, and later ones come through again', () => {
    const { made, a } = system()
    for (let group = 0; group < 130; group++) made.model.pageRequest(pageRequest(a, group))
    made.events()
    expect([made.requests.length, made.overflows]).toEqual([127, 1])
    made.model.pageRequest(pageRequest(a, 200))
    made.events()
    expect([made.requests.at(-1)!.group, made.requests.length, made.overflows]).toEqual([200, 128, 1])
  })
  it('interrupt again after they were read, whatever came between', () => {
    const { made, a } = system()
    const signals: string[] = []
    made.model.onInterrupt = (source) => signals.push(source)
    for (let turn = 0; turn < 3; turn++) {
      made.model.pageRequest(pageRequest(a, turn))
      made.events()
    }
    expect(signals).toEqual(['page-request-event', 'page-request-event', 'page-request-event'])
    expect(made.requests).toHaveLength(3)
  })
  it('of a PASID that nobody uses are answered by the IOMMU itself, and recorded', () => {
    const { made, a } = system()
    made.model.pageRequest(pageRequest(a, 1, { pasid: 9 }))
    expect(made.events()).toEqual(['SPT.2'])
    expect(made.faults[0]!.text).toMatch(/page request at 0x7000/)
    expect(a.messages).toMatchObject([{ kind: 'page-response', group: 1, code: 'invalid' }])
    expect(made.requests).toEqual([])
  })
})
