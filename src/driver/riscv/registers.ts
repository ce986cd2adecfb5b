/** The IOMMU's registers by name. Offsets and fields: `format/riscv/registers.ts`. */
import type { Mmio } from '../../core/driver.ts'
import { REGISTERS } from '../../format/riscv/registers.ts'
import { NamedRegisters } from '../common/registers.ts'

const PLACES = new Map(
  REGISTERS.map(({ name, offset, layout }) => [name, { offset, bytes: layout.bits === 64 ? (8 as const) : (4 as const) }]),
)

export class Registers extends NamedRegisters {
  constructor(mmio: Mmio) {
    super(mmio, (name) => {
      const place = PLACES.get(name)
      if (place === undefined) throw new RangeError(`no register is called ${name}`)
      return place
    })
  }
}
