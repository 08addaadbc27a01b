-- Prints the seconds that COUNT loops of N calls take by LuaJIT's FFI:
-- luajit luajit.lua FUNCTION LIBRARY N COUNT

local ffi = require("ffi")
ffi.cdef([[
double cos(double x);
double f(double x);
void cross(const double *a, const double *b, double *c);
struct timespec { long seconds, nanoseconds; };
int clock_gettime(int clock, struct timespec *time);
]])
local name, library = arg[1], ffi.load(arg[2])
local n, count = tonumber(arg[3]), tonumber(arg[4])

local function now()
  local monotonic, time = 1, ffi.new("struct timespec")
  ffi.C.clock_gettime(monotonic, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) * 1e-9
end

local function numbers(size)
  local array = ffi.new("double[?]", size)
  for i = 0, size - 1 do
    array[i] = i / size
  end
  return array
end

local loops = {}

function loops.cos()
  local x, y = numbers(n), ffi.new("double[?]", n)
  return function()
    for i = 0, n - 1 do
      y[i] = library.cos(x[i])
    end
  end, function()
    return math.abs(y[n - 1] - math.cos(x[n - 1])) < 1e-12
  end
end

function loops.f()
  local x, y = numbers(n), ffi.new("double[?]", n)
  return function()
    for i = 0, n - 1 do
      y[i] = library.f(x[i])
    end
  end, function()
    return y[n - 1] == x[n - 1] + 1
  end
end

function loops.cross()
  local a, b, c = numbers(3 * n), numbers(3 * n), ffi.new("double[?]", 3 * n)
  b[3 * n - 1] = 5
  return function()
    for i = 0, n - 1 do
      library.cross(a + 3 * i, b + 3 * i, c + 3 * i)
    end
  end, function()
    local x, y = a + 3 * n - 3, b + 3 * n - 3
    return c[3 * n - 3] == x[1] * y[2] - x[2] * y[1]
  end
end

local run, is_right = loops[name]()
-- The first run compiles the loop and touches the memory before the clock starts.
run()
assert(is_right(), name .. " gave a wrong result")
local start = now()
for _ = 1, count do
  run()
end
print(string.format("%.9f", now() - start))
