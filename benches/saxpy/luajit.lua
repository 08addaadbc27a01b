-- Prints the seconds of CPU time that COUNT calls of saxpy take: luajit luajit.lua LIBRARY COUNT

local ffi = require("ffi")
ffi.cdef("void saxpy(size_t n, float a, const float *x, float *y);")
local kernel = ffi.load(arg[1])
local count = tonumber(arg[2])

local n = 16
local x = ffi.new("float[?]", n)
local y = ffi.new("float[?]", n)
for i = 0, n - 1 do
  x[i], y[i] = i, 1
end
kernel.saxpy(n, 2.0, x, y)
for i = 0, n - 1 do
  assert(y[i] == 2 * i + 1, "saxpy gave a wrong result")
end

local function run(times)
  local start = os.clock()
  for _ = 1, times do
    kernel.saxpy(n, 2.0, x, y)
  end
  return os.clock() - start
end

-- The first run compiles the loop before the clock starts.
run(1000)
print(string.format("%.9f", run(count)))
