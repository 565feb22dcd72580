// What nearly every file includes.
#include "lacuna/core/config.h"
#include "lacuna/core/torch.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>
