/** The IOMMU's registers by name. Offsets and fields: `format/vtd/registers.ts`. */
import { type Field, getField, wordsFromU64 } from '../../base/layout.ts'
import type { Mmio } from '../../core/driver.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { CAP, ECAP, REGISTERS } from '../../format/vtd/registers.ts'
import { NamedRegisters } from '../common/registers.ts'

const PLACES = new Map(
  REGISTERS.map(({ name, offset, layout }) => [name, { offset, bytes: layout.bits === 64 ? (8 as const) : (4 as const) }]),
)

export class Registers extends NamedRegisters {
  readonly mmio: Mmio

  constructor(mmio: Mmio) {
    super(mmio, (name) => {
      const place = PLACES.get(name)
      if (place === undefined) throw new RangeError(`no register is called ${name}`)
      return place
    })
    this.mmio = mmio
  }
}

const fieldOf = (register: bigint, field: Field) => Number(getField(wordsFromU64([register]), field))

/** A field of CAP, ECAP. */
export const capField = ({ cap }: VtdFeatures, name: keyof typeof CAP.fields) => fieldOf(cap, CAP.fields[name])
export const ecapField = ({ ecap }: VtdFeatures, name: keyof typeof ECAP.fields) => fieldOf(ecap, ECAP.fields[name])
