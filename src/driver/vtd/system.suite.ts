/** The driver over the VT-d model. */
import { ptSpace } from '../../format/pt/format.ts'
import { newRoot } from '../../format/pt/mapper.ts'
import { x86Cpu } from '../../format/pt/x86.ts'
import { VtdIommu } from '../../model/vtd/iommu.ts'
import type { VtdOptions } from '../../model/vtd/options.ts'
import { TestSystem, testMemory } from '../common/system.suite.ts'
import { VtdDriver, type VtdDriverOptions } from './driver.ts'

export { PCIE, PLAIN, RW, TestDevice, TestProcess } from '../common/system.suite.ts'

export class System extends TestSystem<VtdIommu, VtdDriver> {
  /** @param levels of the CPU's tables. */
  constructor(options: VtdDriverOptions = {}, hardware: VtdOptions = {}, levels: 4 | 5 = 4) {
    const memory = testMemory()
    const model = new VtdIommu(memory, hardware)
    super({
      memory,
      model,
      driver: new VtdDriver(model, memory, options),
      // CPUs set A and D by hardware, always.
      processSpace() {
        const cpu = x86Cpu(levels)
        return ptSpace({ ...cpu, root: newRoot(memory, cpu) })
      },
    })
  }
}
