/** What the driver's tests share: a driver over the fake SMMU, devices, domains, processes, and a look into the tables. */
import { decode, encode, type Fields, type Layout, type Values, wordsFromU64 } from '../../base/layout.ts'
import { run } from '../../base/op.ts'
import type { DeviceCapabilities, DomainKind, DriverDevice, DriverDomain, DriverIoMm } from '../../core/driver.ts'
import { AD_SET, type PtSpace, ptSpace } from '../../format/pt/format.ts'
import { vmsav8 } from '../../format/pt/vmsav8.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import { GENEROUS_IDR } from '../../format/smmuv3/features.ts'
import { CD_BYPASS, Found, findCd, findSte, LOOKUP_OK, selectCd, streamTable } from '../../format/smmuv3/lookup.ts'
import { IDR0, IDR1, IDR3, IDR5 } from '../../format/smmuv3/registers.ts'
import { STE } from '../../format/smmuv3/ste.ts'
import { PCIE, type TestDomain } from '../common/system.suite.ts'
import { SmmuV3Driver, type SmmuV3DriverOptions } from './driver.ts'
import { FakeSmmu } from './fake-smmu.suite.ts'

export { PCIE, PLAIN, STALLS, type TestDomain } from '../common/system.suite.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

/** Fields of identification registers to set otherwise than in an SMMU that has everything. */
export interface IdrChanges {
  readonly IDR0?: Partial<Values<typeof IDR0.fields>>
  readonly IDR1?: Partial<Values<typeof IDR1.fields>>
  readonly IDR3?: Partial<Values<typeof IDR3.fields>>
  readonly IDR5?: Partial<Values<typeof IDR5.fields>>
}

function changed<F extends Fields>(layout: Layout<F>, value: number, changes: Partial<Values<F>> = {}): number {
  return encode(layout, { ...decode(layout, Uint32Array.of(value)), ...changes } as Partial<Values<F>>)[0]!
}

export function idr(changes: IdrChanges): typeof GENEROUS_IDR {
  return {
    ...GENEROUS_IDR,
    IDR0: changed(IDR0, GENEROUS_IDR.IDR0, changes.IDR0),
    IDR1: changed(IDR1, GENEROUS_IDR.IDR1, changes.IDR1),
    IDR3: changed(IDR3, GENEROUS_IDR.IDR3, changes.IDR3),
    IDR5: changed(IDR5, GENEROUS_IDR.IDR5, changes.IDR5),
  }
}

/** A process with an ASID of its own choice. */
export function process(name: string, asid: number | null, space: Partial<PtSpace> = {}): CpuSpace & { pins: number } {
  return {
    name,
    id: 0,
    alive: true,
    asidBits: 16,
    pins: 0,
    space: ptSpace({
      format: vmsav8(12, 'el1'),
      root: 0x7000_0000,
      topDepth: 3,
      inputBits: 48,
      outputLimit: 2 ** 44,
      accessed: AD_SET,
      ...space,
    }),
    pinAsid() {
      if (asid !== null) this.pins++
      return asid
    },
    unpinAsid() {
      this.pins--
    },
    addNotifier() {},
    removeNotifier() {},
    areasIn: () => [],
    handleFault() {
      throw new Error('the driver handles no faults of a process')
    },
  }
}

export class Bench {
  readonly smmu: FakeSmmu
  readonly driver: SmmuV3Driver

  constructor(changes: IdrChanges = {}, options: SmmuV3DriverOptions = {}) {
    this.smmu = new FakeSmmu(idr({ IDR3: { RIL: 0 }, ...changes }))
    this.driver = new SmmuV3Driver(this.smmu, this.smmu.memory, options)
    this.smmu.sent(this.driver.init())
  }

  device(id: number, capabilities: DeviceCapabilities = PCIE): DriverDevice {
    const device = { id, name: `device ${id}`, capabilities }
    this.smmu.sent(this.driver.addDevice(device))
    return device
  }

  domain(name: string, kind: DomainKind, ...devices: DriverDevice[]): TestDomain {
    const domain = { name, kind, devices: new Set<DriverDevice>() }
    this.smmu.sent(this.driver.domainAlloc(domain))
    for (const device of devices) this.attach(domain, device)
    return domain
  }

  /** As the core does it. @returns what was sent. */
  attach(domain: TestDomain, device: DriverDevice): string[] {
    domain.devices.add(device)
    return this.smmu.sent(this.driver.attachDevice(domain, device))
  }

  detach(domain: TestDomain, device: DriverDevice): string[] {
    const sent = this.smmu.sent(this.driver.detachDevice(domain, device))
    domain.devices.delete(device)
    return sent
  }

  ioMm(pasid: number, mm: CpuSpace | null): DriverIoMm {
    const ioMm = { pasid, mm }
    this.smmu.sent(this.driver.ioMmAlloc(ioMm))
    return ioMm
  }

  bound(domain: TestDomain, ioMm: DriverIoMm): string[] {
    return this.smmu.sent(this.driver.ioMmAttach(domain, ioMm))
  }

  map(domain: DriverDomain, iova: bigint, pa: bigint, size: bigint): string[] {
    return this.smmu.sent(this.driver.pgtable(domain)!.map(iova, pa, size, 0b011011))
  }

  unmap(domain: DriverDomain, iova: bigint, size: bigint): string[] {
    return this.smmu.sent(this.driver.pgtable(domain)!.unmap(iova, size))
  }

  /** Runs an operation that should fail. */
  failure(op: () => Generator): unknown {
    try {
      run(op() as Parameters<typeof run>[0], () => this.smmu.step())
    } catch (error) {
      return error
    }
    return null
  }

  /** The STE that the hardware finds for a stream; a status when it finds none. */
  ste(sid: number): Uint32Array | number {
    const { smmu, driver } = this
    const table = streamTable(
      wordsFromU64([smmu.register('STRTAB_BASE')]),
      Number(smmu.register('STRTAB_BASE_CFG')),
      driver.features,
    )
    const found = new Found()
    if (findSte(smmu.memory, table, driver.features, sid, found) !== LOOKUP_OK) return found.status
    return Uint32Array.from(smmu.memory.words.subarray(found.index, found.index + 16))
  }

  steFields(sid: number): Values<typeof STE.fields> {
    const ste = this.ste(sid)
    if (typeof ste === 'number') throw new Error(`no STE for stream ${sid}: status ${ste}`)
    return decode(STE, ste)
  }

  /** What a transaction uses: the fields of its CD; `bypass`; or the number of the event. @param pasid null: without. */
  cd(sid: number, pasid: number | null): Values<typeof CD.fields> | 'bypass' | number {
    const ste = this.ste(sid)
    if (typeof ste === 'number') return ste
    const { smmu, driver } = this
    const index = selectCd(ste, 0, driver.features, pasid ?? -1)
    if (index === CD_BYPASS) return 'bypass'
    if (index < 0) return -index
    const found = new Found()
    if (findCd(smmu.memory, ste, 0, driver.features, index, null, found) !== LOOKUP_OK) return found.status
    return decode(CD, smmu.memory.words, found.index)
  }
}

/** How many syncs. */
export const syncs = (sent: readonly string[]) => sent.filter((command) => command === 'SYNC').length
